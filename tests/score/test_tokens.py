"""Against open_clip's own tokenizer."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.score import tokens
from pipeline.score.compat import import_open_clip

OWN = import_open_clip().tokenizer.SimpleTokenizer
ODD = [
    "",
    "   ",
    "!",
    "a" * 3000,
    "<start_of_text> x <END_OF_TEXT>",
    "don't WON'T he'LL",
    "한국어 캡션 시험",
    "日本 123 4,5",
    "&amp;amp;lt; b &eacute;",
    "\x1b[31m red",
    "tab\tx\r\ny\x00z",
    "ﬁve “quotes” cafÃ©",
    "\u0130" * 40,
    " ".join(f"w{i}" for i in range(200)),
]


@pytest.fixture(scope="module", params=["lower", "canonicalize", "whitespace"])
def own(request):
    return OWN(clean=request.param)


def test_odd_texts_have_the_same_ids(own):
    assert (tokens.tokenize_with(own)(ODD) == own(ODD)).all()


def test_any_text_has_the_same_ids(own):
    quick = tokens.tokenize_with(own)
    texts = st.text(st.characters(codec="utf-8"), max_size=60)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(texts | st.text("aB'’&;<>#x1 é한", max_size=60), min_size=1, max_size=5))
    def holds(given_texts):
        assert (quick(given_texts) == own(given_texts)).all()

    holds()


def test_real_captions_have_the_same_ids(real_data):
    with (real_data / "photos-captions" / "pairs.tsv").open() as lines:
        texts = [row["caption"] for row in csv.DictReader(lines, delimiter="\t")][::5]
    own = OWN()
    assert (tokens.tokenize_with(own)(texts) == own(texts)).all()


def test_words_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(tokens, "_WORDS_KEPT", 20)
    own = OWN()
    quick = tokens.tokenize_with(own)
    for start in range(0, 300, 30):
        texts = [
            f"word{chr(97 + i % 26) * (i % 7 + 1)} <end_of_text>" for i in range(start, start + 30)
        ]
        assert (quick(texts) == own(texts)).all()
        assert len(own.cache) < 200


def test_another_tokenizer_is_used_as_it_is():
    def other(texts):
        return texts

    assert tokens.tokenize_with(other) is other
    masking = OWN(reduction_mask="simple")
    assert tokens.tokenize_with(masking) is masking
