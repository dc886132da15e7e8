"""Reasons in words."""

import pytest

import filters
from pipeline.core.balance import MEASURES
from pipeline.core.filter import Bound, Filter, Relative
from pipeline.core.reasons import (
    ClusterReason,
    DropReason,
    LinkReason,
    MatchReason,
    MatchRule,
    RecordReason,
    Status,
)
from pipeline.stats import figures, wording
from tests.filters.oracle import made


class _Loose(Filter):
    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_words", low=2), Bound("mystery", high=7.5))


class _Strict(Filter):
    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_words", low=5, high=9),)


@pytest.mark.parametrize(
    "kind", [RecordReason, LinkReason, Status, MatchReason, ClusterReason, DropReason]
)
def test_every_reason_of_the_vocabularies_has_a_sentence(kind):
    assert [r for r in kind if r not in wording.FIXED] == []


def test_the_tightest_bound_and_its_filter_are_told():
    found = figures.limits({"loose": _Loose(), "strict": _Strict()})
    assert found["caption_words"].low == 5 and found["caption_words"].high == 9
    assert wording.sentence("caption_words_low", found) == "caption of fewer than 5 words"
    assert wording.reason_filter("caption_words_low", found) == "strict"
    assert wording.reason_filter("mystery_high", found) == "loose"
    assert wording.sentence("mystery_high", found) == "mystery over 7.5"
    assert wording.sentence("caption_words_missing", found) == "no value of caption words"


def test_every_reason_of_every_filter_reads_as_words():
    chosen = {}
    for name, kind in filters.load().items():
        chosen[name] = made(name, kind)
    found = figures.limits(chosen)
    for flt in chosen.values():
        for bound in flt.bounds():
            for reason in bound.reasons:
                text = wording.sentence(reason, found)
                assert text and "_" not in text and "{" not in text, reason


def test_rank_counts_from_one():
    one, three = (wording.Limit(high=h, high_filter="f") for h in (0, 2))
    say = wording.sentence
    assert say("caption_rank_high", {"caption_rank": one}) == "not the best caption of its picture"
    assert "among the 3 best" in say("caption_rank_high", {"caption_rank": three})


def test_caps_tell_how_many_of_what_are_kept():
    two = {name: wording.Limit(high=1, high_filter="f") for name in MEASURES}
    say = wording.sentence
    assert say("domain_rank_high", two) == "beyond the 2 pairs that are kept of a domain's pictures"
    assert say("page_domain_rank_high", two).endswith("of the pages of a domain")
    assert say("language_rank_high", two).endswith("of a language")


def test_unknown_reasons_stay_themselves():
    assert wording.sentence("something_else", {}) == "something else"
    assert wording.sentence("low", {}) == "low"
    assert wording.sentence("thing_low", {}) == "thing too low"
    assert wording.consent("page:meta:noai") == "the page objects: meta noai"
    assert wording.consent("list:domain") == "an opt-out list names the domain"
    assert wording.consent("adopted").startswith("not asked: taken from a folder")
    assert wording.consent("<b>") == "<b>"


def test_every_rule_has_a_name_and_what_it_found_reads_as_words():
    assert [r for r in MatchRule if r not in wording.RULES] == []
    assert wording.duplicate("perceptual", 1, None) == "1 bit apart"
    assert wording.duplicate("released", 0, None) == "released before, 0 bits apart"
    assert wording.duplicate("same_fingerprint", 0, None) == "same fingerprint"
    assert wording.duplicate("copy", None, 0.914) == "copy detection, cosine 0.91"


def test_a_bound_that_was_found_is_told_with_what_it_came_to():
    class Found(Filter):
        def bounds(self) -> tuple[Bound, ...]:
            return (Bound("clip_similarity", low=Relative(keep=0.3), high=Relative(keep=0.9)),)

    key = ("found", "clip_similarity")
    ends = {(*key, "low"): [0.21, 0.3, 0.25], (*key, "high"): [0.5]}
    limits = figures.limits({"found": Found()}, (), ends)
    limit = limits["clip_similarity"]
    assert (limit.low, limit.low_to, limit.high, limit.high_to) == (0.21, 0.3, 0.5, None)
    told = wording.sentence("clip_similarity_low", limits)
    assert told.endswith("similarity under 0.21 to 0.3, by language")
    assert wording.sentence("clip_similarity_high", limits).startswith("similarity over 0.5")
    assert wording.reason_filter("clip_similarity_low", limits) == "found"
    nothing = figures.limits({"found": Found()})
    assert wording.sentence("clip_similarity_low", nothing) == "clip similarity too low"
