"""Reasons and consent in plain words, for people who do not know the code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core.balance import DOMAIN_RANK, LANGUAGE_RANK, PAGE_DOMAIN_RANK
from pipeline.core.filter import Filter, Relative
from pipeline.core.reasons import (
    ClusterReason,
    DropReason,
    LinkReason,
    MatchReason,
    MatchRule,
    RecordReason,
    Status,
)
from pipeline.stats.charts import number

# One sentence per reason; several vocabularies share `bad_url`.
FIXED: Mapping[str, str] = {
    RecordReason.NOT_A_PAGE: "not a page: a request, a header, a picture",
    RecordReason.NOT_HTML: "the page is not HTML",
    RecordReason.HTTP_STATUS: "the page was not answered with 200",
    RecordReason.TRUNCATED: "the archive ends inside the record",
    RecordReason.CORRUPT: "the record cannot be unpacked",
    RecordReason.TOO_LARGE: "larger than the limit in bytes",
    RecordReason.UNPARSABLE: "the content is not what it claims to be",
    RecordReason.CRASHED: "reading it crashed the parser, or took too long",
    LinkReason.NO_CAPTION: "the image has no text beside it",
    LinkReason.DATA_URL: "the image is inside the page, without a URL",
    LinkReason.BAD_URL: "not a URL",
    LinkReason.NOT_HTTP: "the URL is neither http nor https",
    LinkReason.OVER_PAGE_CAP: "beyond the most links taken from one page",
    Status.OK: "downloaded",
    Status.OPTED_OUT: "the page, the image's own header or an opt-out list says so",
    Status.ROBOTS: "robots.txt forbids it",
    Status.ROBOTS_UNAVAILABLE: "robots.txt cannot be had, so it counts as forbidden",
    Status.PRIVATE_ADDRESS: "leads to an address that is not public",
    Status.DNS: "the host's name has no address",
    Status.DNS_UNAVAILABLE: "no name server would say where the host is",
    Status.CONNECT: "the host takes no connection",
    Status.TLS: "no secure connection could be made",
    Status.TIMEOUT: "took too long",
    Status.DISCONNECTED: "the connection ended too early",
    Status.TOO_MANY_REDIRECTS: "redirected too often",
    Status.BAD_REDIRECT: "redirected to nowhere, or to something that is not the web",
    Status.BAD_RESPONSE: "the answer is not proper HTTP",
    Status.HTTP_403: "the server forbids it (403)",
    Status.HTTP_404: "no longer there (404)",
    Status.HTTP_410: "gone for good (410)",
    Status.HTTP_429: "the server asks for fewer requests (429)",
    Status.HTTP_4XX: "the server refuses (another 4xx code)",
    Status.HTTP_5XX: "the server failed (5xx)",
    Status.HOST_GIVEN_UP: "not asked for: its host failed too often",
    Status.HOST_FORBIDS: "not asked for: its host forbids picture after picture",
    Status.TOO_MANY_PIXELS: "more pixels than the limit",
    Status.TOO_MANY_FRAMES: "more frames than the limit",
    Status.EMPTY: "an empty answer",
    Status.NOT_AN_IMAGE: "not an image, whatever its header says",
    Status.DECODE: "the image is broken",
    Status.TOO_SMALL: "too small to train on",
    Status.PLACEHOLDER: "a stand-in: many URLs of the host lead to it, or it is known as one",
    Status.FILTERED: "not asked for: a filter before the download drops all its captions",
    Status.NOT_MODIFIED: "asked about again: still the same picture",
    MatchReason.SAME_FINGERPRINT: "the same picture is there already, under another URL",
    MatchReason.LOW_TEXTURE: "too flat to be compared",
    MatchReason.HASH256_DIFFERS: "alike at a glance, but the wider hash differs",
    MatchReason.SHAPE_DIFFERS: "alike, but of another shape",
    MatchReason.SAME_PAIR: "alike when turned, and found as the same already",
    MatchReason.RELEASED: "an earlier release holds the picture",
    MatchReason.BLOCKED: "a block list names the picture",
    MatchReason.EVALUATION_MATCH: "an evaluation set holds the picture",
    MatchReason.MISSED: "missed by the search: a bug",
    ClusterReason.NOT_FINITE: "the model gave no numbers for the picture",
    ClusterReason.OTHER_CLUSTER: "alike, but in clusters that are not compared",
    DropReason.DUPLICATE_PAIR: "the same image with the same caption, on another page",
    DropReason.OVER_CAPTION_CAP: "beyond the most captions kept of one image",
    DropReason.REGISTERED: "an earlier crawl holds the image",
    DropReason.NO_SCORE: "no similarity could be computed",
    DropReason.SAME_PICTURE: "embedded already: the same bytes under another URL",
    DropReason.SAME_CAPTION: "embedded already: the same caption elsewhere",
    DropReason.UNREADABLE_PICTURE: "the stored picture cannot be read",
}

# What holds two pictures to be the same, as a name for charts.
RULES: Mapping[str, str] = {
    MatchRule.SAME_FINGERPRINT: "same fingerprint",
    MatchRule.PERCEPTUAL: "perceptual hashes",
    "turned": "mirrored or turned",
    MatchRule.COPY: "copy detection",
    MatchRule.RELEASED: "released before",
}

# Measure -> what is wrong below and above its bound. Any other measure is described by its field.
_BOUNDED: Mapping[str, tuple[str, str]] = {
    "aspect_ratio": (
        "longer side under {} times the shorter",
        "longer side over {} times the shorter",
    ),
    "body_bytes": ("file smaller than {} bytes", "file larger than {} bytes"),
    "caption_address_ratio": ("", "web addresses are over {} of the caption"),
    "caption_alnum_ratio": ("letters and digits are under {} of the caption", ""),
    "caption_capitalised_ratio": ("", "over {} of the words begin in upper case"),
    "caption_chars": ("caption shorter than {} characters", "caption longer than {} characters"),
    "caption_damaged": ("", "damaged encoding: more signs of it than {}"),
    "caption_emoji_ratio": ("", "emoji are over {} of the caption"),
    "caption_flagged_ratio": ("", "words of a block list are over {} of the caption"),
    "caption_flagged_words": ("", "more than {} words of a block list"),
    "caption_hashtag_ratio": ("", "hashtags and mentions are over {} of the words"),
    "caption_hashtags": ("", "more than {} hashtags and mentions"),
    "caption_images": ("", "boilerplate: the caption is on more than {} images"),
    "caption_domain_images": ("", "boilerplate: the caption is on more than {} images of a site"),
    "caption_images_other": ("", "boilerplate: the caption is on more than {} images"),
    "caption_images_ratio": ("", "boilerplate: on more images than is allowed in its language"),
    "caption_known_words_ratio": ("known words are under {} of the caption", ""),
    "caption_pattern_pairs": ("", "a template: over {} captions of a site have its pattern"),
    "caption_punctuation_ratio": ("a list of keywords: punctuation marks are under {} of it", ""),
    "caption_repeated_words_ratio": ("", "over {} of the words stand in the caption before"),
    "caption_repetition_ratio": ("", "the caption repeats itself: over {} of it"),
    "caption_special_ratio": ("", "special characters are over {} of the caption"),
    "caption_stop_words_ratio": ("function words are under {} of the caption", ""),
    "caption_top_repetition_ratio": ("", "the caption repeats itself: over {} of it"),
    "caption_unmatched_brackets": ("", "more than {} brackets without a partner"),
    "caption_upper_ratio": ("", "capitals are over {} of the caption's letters"),
    "caption_word_repetition_ratio": ("", "the caption repeats its words: over {} of it"),
    "caption_words": ("caption of fewer than {} words", "caption of more than {} words"),
    "concept_count": ("the caption names no concept of the list", ""),
    "clip_similarity": (
        "the caption does not fit the picture: similarity under {}",
        "similarity over {}: the picture may show the caption itself",
    ),
    "frames": ("", "animated: more frames than {}"),
    "has_determiner": ("the caption has no determiner", ""),
    "has_interface_text": ("", "the caption begins or ends with text of an interface"),
    "has_markup": ("", "the caption has remains of HTML or of a program"),
    "has_noun": ("the caption has no noun", ""),
    "has_personal_data": ("", "the caption holds personal data"),
    "image_max_side": ("longer side under {} pixels", "longer side over {} pixels"),
    "has_preposition": ("the caption has no preposition", ""),
    "has_url_word": ("", "the image's URL says that it is no content"),
    "image_min_side": ("shorter side under {} pixels", "shorter side over {} pixels"),
    "is_balanced": ("not drawn: there are enough pairs of each of its concepts", ""),
    "is_consented": ("an opt-out is known", ""),
    "is_counter": ("", "the caption is a date, a number or a counter"),
    "is_evaluation_match": ("", "an evaluation set holds the picture"),
    "is_filename_like": ("", "the caption is a file name"),
    "image_pixels": ("fewer than {} pixels in all", "more than {} pixels in all"),
    "is_format_allowed": ("the file is of another format than those wanted", ""),
    "is_interface_text": ("", "the caption is text of an interface"),
    "is_language_allowed": ("the caption is not in a wanted language", ""),
    "is_representative": ("near-duplicate of a picture that is kept", ""),
    "pages": ("", "the picture has this caption on more than {} pages"),
    "semantic_similarity": ("", "shows what another picture shows: similarity over {}"),
    "starts_with_lower_case": ("", "the caption starts in lower case"),
    "texture": ("nearly flat picture: texture under {}", "texture over {}"),
    "width_to_height": ("width under {} times the height", "width over {} times the height"),
}  # fmt: skip


# Rank in a group -> what the groups are.
_GROUPS: Mapping[str, str] = {
    DOMAIN_RANK: "a domain's pictures",
    PAGE_DOMAIN_RANK: "the pages of a domain",
    LANGUAGE_RANK: "a language",
}


@dataclass(frozen=True)
class Limit:
    """The tightest bounds on a measure, and which filter sets each; None where a side is open.

    low_to, high_to: where a side differs by language, its greatest value; low or high is its least.
    """

    low: float | None = None
    high: float | None = None
    low_filter: str = ""
    high_filter: str = ""
    doc: str = ""
    unit: str = ""
    low_to: float | None = None
    high_to: float | None = None

    def told(self, side: str) -> str:
        """A side as text; empty where it is open."""
        value, most = (self.low, self.low_to) if side == "low" else (self.high, self.high_to)
        if value is None:
            return ""
        if most is None:
            return _short(value)
        return f"{_short(value)} to {_short(most)}, by language"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1 else number(value)


# What the sides of bounds came to: filter, measure and "low" or "high" -> its value, or its value
# for every language.
Ends = Mapping[tuple[str, str, str], Sequence[float]]


def limits(
    filters: Mapping[str, Filter], fields: Mapping[str, tuple[str, str]], ends: Ends
) -> dict[str, Limit]:
    """Measure -> its tightest bounds.

    fields: measure -> (doc, unit). ends: of the sides that are not given as values.
    """
    found: dict[str, Limit] = {}
    for name, flt in filters.items():
        for bound in flt.bounds():
            doc, unit = fields.get(bound.measure, ("", ""))
            known = replace(found.get(bound.measure, Limit()), doc=doc, unit=unit)
            for side, given in bound.sides.items():
                key = (name, bound.measure, side)
                values = ends.get(key, ()) if isinstance(given, Relative) else (given,)
                if values:
                    known = _tighter(known, side, min(values), max(values), name)
            found[bound.measure] = known
    return found


def _tighter(known: Limit, side: str, least: float, most: float, name: str) -> Limit:
    to = most if most > least else None
    if side == "low" and (known.low is None or most > (known.low_to or known.low)):
        return replace(known, low=least, low_to=to, low_filter=name)
    if side == "high" and (known.high is None or least < known.high):
        return replace(known, high=least, high_to=to, high_filter=name)
    return known


def words(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


def sentence(reason: str, bounds: Mapping[str, Limit]) -> str:
    """What a reason means, e.g. "caption shorter than 6 characters"; never empty."""
    if reason in FIXED:
        return FIXED[reason]
    measure, _, side = reason.rpartition("_")
    if side == "missing":
        return f"no value of {words(measure)}"
    if side not in ("low", "high") or not measure:
        return words(reason)
    limit = bounds.get(measure, Limit())
    value = limit.low if side == "low" else limit.high
    if value is None:
        return f"{words(measure)} too {side}"
    if measure in _GROUPS:
        return f"beyond the {number(value + 1)} pairs that are kept of {_GROUPS[measure]}"
    if measure == "caption_rank":
        best = number(value + 1)
        return (
            f"not {'the best caption' if value == 0 else f'among the {best} best'} of its picture"
        )
    known = _BOUNDED.get(measure, ("", ""))[side == "high"]
    if known:
        return known.format(limit.told(side))
    unit = f" {limit.unit}" if limit.unit else ""
    doc = f" ({limit.doc})" if limit.doc else ""
    told = limit.told(side)
    return f"{words(measure)} {'under' if side == 'low' else 'over'} {told}{unit}{doc}"


def rule(name: str) -> str:
    """The name of a MatchRule for people."""
    return RULES.get(name, words(name))


def duplicate(name: str, distance: int | None, similarity: float | None) -> str:
    """How a picture is the same as another, e.g. "4 bits apart"."""
    if distance is not None:
        apart = f"{distance} bit{'' if distance == 1 else 's'} apart"
        if name == MatchRule.SAME_FINGERPRINT:
            return RULES[name]
        return apart if name == MatchRule.PERCEPTUAL else f"{rule(name)}, {apart}"
    return rule(name) if similarity is None else f"{rule(name)}, cosine {similarity:.2f}"


def reason_filter(reason: str, bounds: Mapping[str, Limit]) -> str:
    """The filter that a reason comes from; empty for what no filter decides."""
    measure, _, side = reason.rpartition("_")
    limit = bounds.get(measure, Limit())
    return {"low": limit.low_filter, "high": limit.high_filter}.get(
        side, limit.low_filter or limit.high_filter
    )


def consent(source: str) -> str:
    """Who said what, e.g. "page:meta:noai" -> "the page: meta noai"."""
    if source == "allowed":
        return "allowed: nobody objects"
    if source == "adopted":
        return "not asked: taken from a folder of another downloader"
    if source == "unknown":
        return "not asked: the URL was not or could not be fetched"
    if source == "robots.txt":
        return "robots.txt objects, or cannot be had"
    where, _, what = source.partition(":")
    if where == "list":
        return f"an opt-out list names the {what}"
    who = {"page": "the page objects", "header": "the image's header objects"}.get(where)
    return f"{who}: {what.replace(':', ' ')}" if who else source
