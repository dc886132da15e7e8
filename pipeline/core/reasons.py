"""Closed vocabularies: why a record, a link or an image left the line.

Bounds in `decide` derive their reasons from the measure (`<measure>_low`, `_high`, `_missing`);
everything else that can be dropped is named here.
"""

from enum import StrEnum


class RecordReason(StrEnum):
    """Why an archive record gave no page."""

    NOT_A_PAGE = "not_a_page"  # request, warcinfo, image response, ...
    NOT_HTML = "not_html"
    HTTP_STATUS = "http_status"  # the recorded response is not a 200
    TRUNCATED = "truncated"  # the archive ends inside the record
    CORRUPT = "corrupt"  # a gzip member or header that cannot be read
    TOO_LARGE = "too_large"
    UNPARSABLE = "unparsable"  # the payload is not the JSON or HTML it claims to be
    CRASHED = "crashed"  # reading it ended the parser's process, or took too long or too much


class LinkReason(StrEnum):
    """Why an image link on a page gave no pair."""

    NO_CAPTION = "no_caption"
    DATA_URL = "data_url"
    BAD_URL = "bad_url"
    NOT_HTTP = "not_http"
    OVER_PAGE_CAP = "over_page_cap"  # beyond the most links that are taken from one page


class Status(StrEnum):
    """How the download of one candidate ended. Everything but OK is a reason to drop."""

    OK = "ok"
    OPTED_OUT = "opted_out"  # by the page, a header of the response, or a list
    ROBOTS = "robots"  # robots.txt disallows it, or wants more time between requests than we have
    ROBOTS_UNAVAILABLE = "robots_unavailable"  # robots.txt answered 5xx or not at all
    BAD_URL = "bad_url"
    PRIVATE_ADDRESS = "private_address"
    DNS = "dns"  # the name does not exist, or has no address
    DNS_UNAVAILABLE = "dns_unavailable"  # no name server gave an answer
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"  # the body ended early
    TOO_MANY_REDIRECTS = "too_many_redirects"
    BAD_REDIRECT = "bad_redirect"  # to something that is not http(s), or without a target
    BAD_RESPONSE = "bad_response"  # not HTTP, or headers over the cap
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    # Not asked for, as the host failed too often, or answered that many others by 401, 403 or 451.
    HOST_GIVEN_UP = "host_given_up"
    HOST_FORBIDS = "host_forbids"
    TOO_LARGE = "too_large"  # bytes
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    DECODE = "decode"
    TOO_SMALL = "too_small"  # a side under the configured minimum: nothing to train on
    PLACEHOLDER = "placeholder"  # the same picture behind many URLs of one host, or a known one
    NOT_MODIFIED = "not_modified"  # while rechecking alone: the stored picture is still right

    @property
    def is_transient(self) -> bool:
        """True when asking again later may succeed."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        Status.ROBOTS_UNAVAILABLE,
        Status.DNS_UNAVAILABLE,
        Status.CONNECT,
        Status.TLS,
        Status.TIMEOUT,
        Status.DISCONNECTED,
        Status.BAD_RESPONSE,
        Status.HTTP_429,
        Status.HTTP_5XX,
        Status.HOST_GIVEN_UP,
    }
)


class CaptionKind(StrEnum):
    """Where on the page a caption stood, from the most to the least deliberate.

    The order is that of preference among equal texts, and of the bits of `caption_kinds`.
    """

    ALT = "alt"
    TITLE = "title"
    FIGCAPTION = "figcaption"
    ARIA_LABEL = "aria_label"  # aria-label, or the text that aria-labelledby names
    META_ALT = "meta_alt"  # og:image:alt, twitter:image:alt
    JSON_LD = "json_ld"  # caption of an ImageObject
    LINK_TEXT = "link_text"  # the text of the link around the image
    LIST = "list"  # given with the URL in a list, which does not say where it stood


class Verdict(StrEnum):
    """Whether a picture is still the one that a list names."""

    EXACT = "exact"  # the same file
    SAME_LOOKING = "same_looking"  # another file of the same picture, by its 64-bit hash
    CHANGED = "changed"
    MISSING = "missing"  # it was not downloaded, or is not in this run
    UNTOLD = "untold"  # the list does not say what it was, or only in a way that does not tell
    BAD_URL = "bad_url"


class MatchRule(StrEnum):
    """Why two images are held to be the same picture."""

    SAME_FINGERPRINT = "same_fingerprint"  # nothing that `match` compares differs
    PERCEPTUAL = "perceptual"  # 64-bit hash within the radius, 256-bit hash and shape agree
    COPY = "copy"  # embeddings of a copy-detection model are close
    RELEASED = "released"  # an earlier release holds the picture, by fingerprint or perceptually
    TURNED = "turned"  # so it is once one of them is mirrored or turned


class ListRule(StrEnum):
    """Why a picture is held to be one that a list names, the surest first."""

    SHA256 = "sha256"  # the same file
    MD5 = "md5"  # the same file
    HASH256 = "hash256"  # PDQ within the list's radius
    HASH64 = "hash64"  # 64-bit hash within the list's radius, and nothing it tells speaks against


class MatchReason(StrEnum):
    """Why a picture is not searched, or a pair of close 64-bit hashes is no edge."""

    SAME_FINGERPRINT = "same_fingerprint"  # the picture is already there under another URL
    LOW_TEXTURE = "low_texture"  # too flat for a perceptual hash to mean anything
    HASH256_DIFFERS = "hash256_differs"
    SHAPE_DIFFERS = "shape_differs"
    SAME_PAIR = "same_pair"  # the two are an edge already, upright or by another turn
    RELEASED = "released"  # an earlier release holds the picture
    BLOCKED = "blocked"  # a block list names it
    EVALUATION_MATCH = "evaluation_match"  # an evaluation set holds it
    MISSED = "missed"  # brute force finds it, the block tables do not: a bug


class ClusterReason(StrEnum):
    """Why an embedding is not searched, or an alike pair of the audit's is not found."""

    NOT_FINITE = "not_finite"  # the model gave something that is no number
    OTHER_CLUSTER = "other_cluster"  # the two share no cluster, so nothing compares them


class DropReason(StrEnum):
    """Reasons of the stages between the download and the bounds."""

    NO_CAPTION = "no_caption"  # no page gives a caption: the row stands for an opt-out alone
    OVER_CAPTION_CAP = "over_caption_cap"  # beyond the most captions kept of one image
    DUPLICATE_PAIR = "duplicate_pair"  # same image and same caption, seen on another page too
    REGISTERED = "registered"  # an earlier crawl already holds the image
    BLOCKED = "blocked"  # a block list names the picture
    EMBEDDED_BEFORE = "embedded_before"  # its vector was there already, and is taken over
    NO_SCORE = "no_score"
    SAME_PICTURE = "same_picture"  # its bytes are embedded under another image already
    SAME_CAPTION = "same_caption"  # embedded already for another pair
    UNREADABLE_PICTURE = "unreadable_picture"  # the stored bytes do not decode
