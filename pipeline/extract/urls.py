"""Image URLs: resolved against the page, judged, and brought to one canonical form.

The canonical form is the WHATWG serialisation (lower-case host, IDNA, default port and dot segments
removed, percent-encoding), without the fragment and without the query parameters in
`core.tracking`; a query of which nothing is left goes with its mark. What the standard keeps apart
stays apart: the order of parameters, letter case and percent-encoding in paths, a trailing slash,
`www.`.

Whole columns go through `resolve`; `resolve_one` states the same rules for one URL.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import ada_url
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import ids, strings
from pipeline.core.reasons import LinkReason
from pipeline.core.tracking import kernel_names, without_tracking
from pipeline.extract import url_kernel
from pipeline.extract.suffixes import registrable_domain as registrable_domain

# Servers refuse longer ones; 8,000 octets is what they should take at least.
# Source: RFC 9110, section 4.1.
MAX_URL_CHARS = 8_000

_DATA_URL = re.compile(r"[\x00-\x20]*data:", re.IGNORECASE | re.ASCII)
_REASONS = list(LinkReason)
_HTTP = ("http://", "https://")
# A relative URL resolves to a host that cannot exist.
_NO_BASE = ["http://none.invalid/"]


def reason_code(reason: LinkReason | None) -> int:
    """How a reason is written in `Resolved.reasons`: its place in LinkReason from 1, 0 for none."""
    return 0 if reason is None else 1 + _REASONS.index(reason)


class ImageUrl(NamedTuple):
    """An image's address. url: absolute, as given. canonical_url: what image_id is made of."""

    url: str
    canonical_url: str
    domain: str
    image_id: bytes


class Resolved(NamedTuple):
    """Columns beside the sources.

    reasons: int8 [rows], 0 for a good URL, else a `reason_code`. url, canonical_url, domain:
    pa.string() as in ImageUrl, "" where the URL is not good. image_ids: uint8 [rows, 16]
    (`ids.as_binary` makes a column of them), without meaning where the URL is not good.
    """

    reasons: npt.NDArray[np.int8]
    url: pa.Array
    canonical_url: pa.Array
    domain: pa.Array
    image_ids: ids.Digests


def resolve(
    sources: pa.Array,
    pages: npt.NDArray[np.int32],
    bases: pa.Array,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> Resolved:
    """The images that pages mean by `sources`, or why they mean none: `resolve_one` of each row.

    sources: pa.string() without nulls, character references resolved. pages: int32 [rows], which
    of `bases` a row is resolved against. bases: pa.string(), the pages' base URLs (see `base_url`).
    wanted: bool [rows]; of other rows only the reason is told, as if the URL were not good.
    Raises IndexError for a page that has no base. Cost: under a microsecond a row, 10 for the few
    that the kernel does not take.
    """
    if len(pages) != len(sources):
        raise IndexError(f"{len(sources)} sources, {len(pages)} page numbers")
    if len(pages) and not (pages.min() >= 0 and pages.max() < len(bases)):
        raise IndexError(f"pages {pages.min()} to {pages.max()} of {len(bases)}")
    out, used, spans, states = _join(sources, pages, bases)
    reasons = _STATE_REASONS[states]
    general = np.flatnonzero(states == url_kernel.GENERAL)
    if len(general):
        out = _add_general(sources, pages, bases, general, out[:used], spans, reasons)
    if wanted is not None:
        spans[:, ~wanted] = 0
    url, canonical, host = (strings.from_spans(out, spans[i], spans[i + 1]) for i in (0, 2, 4))
    return Resolved(reasons, url, canonical, _domains(host), ids.digests(canonical))


def ids_of(given: pa.Array) -> pa.Array:
    """The image_id of URLs that stand alone: pa.binary(), null for what is no http(s) URL.

    given: pa.string() without nulls.
    """
    pages = np.zeros(len(given), np.int32)
    found = resolve(given, pages, pa.array(_NO_BASE))
    is_good = (found.reasons == 0) & np.array(
        [url.strip().lower().startswith(_HTTP) for url in given.to_pylist()], np.bool_
    )
    return pc.if_else(pa.array(is_good), ids.as_binary(found.image_ids), None)


def _join(
    sources: pa.Array, pages: npt.NDArray[np.int32], bases: pa.Array
) -> tuple[strings.Bytes, int, npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """What the kernel makes of the rows: see `url_kernel.join`."""
    numbers = np.ascontiguousarray(pages, np.int32).view()
    numbers.flags.writeable = False
    ends, data = strings.views(sources)
    base_ends, base_data = strings.views(bases)
    return url_kernel.join(
        ends, data, numbers, base_ends, base_data, MAX_URL_CHARS, _KINDS, *_NAMES
    )


def _add_general(
    sources: pa.Array,
    pages: npt.NDArray[np.int32],
    bases: pa.Array,
    rows: npt.NDArray[np.intp],
    out: strings.Bytes,
    spans: npt.NDArray[np.int64],
    reasons: npt.NDArray[np.int8],
) -> strings.Bytes:
    """Fill in the rows that the kernel left to the general parser; their text is added to `out`."""
    good = []
    given = bases.take(pa.array(pages[rows])).to_pylist()
    texts = sources.take(pa.array(rows)).to_pylist()
    for row, source, base in zip(rows.tolist(), texts, given, strict=True):
        found = resolve_one(source, base)
        if isinstance(found, LinkReason):
            reasons[row] = reason_code(found)
        else:
            reasons[row] = 0
            good.append((row, (found.url, found.canonical_url, host_of(found.url))))
    return _add_texts(out, spans, good)


def _add_texts(
    out: strings.Bytes,
    spans: npt.NDArray[np.int64],
    found: Iterable[tuple[int, tuple[str, str, str]]],
) -> strings.Bytes:
    """`out` with the URL, canonical URL and host of some rows behind it, whose spans are set."""
    added = bytearray()
    for row, texts in found:
        for i, text in enumerate(texts):
            spans[2 * i, row] = len(out) + len(added)
            added += text.encode()
            spans[2 * i + 1, row] = len(out) + len(added)
    return np.concatenate([out, np.frombuffer(added, np.uint8)])


def domains(page_urls: pa.Array) -> pa.Array:
    """The registrable domain of each URL in WHATWG serialisation, "" for ""."""
    hosts = [url and host_of(url) for url in page_urls.to_pylist()]
    return _domains(pa.array(hosts, pa.string()))


def _domains(hosts: pa.Array) -> pa.Array:
    """The registrable domain of every host, each distinct one looked up once."""
    encoded = hosts.dictionary_encode()
    domains = [registrable_domain(host) for host in encoded.dictionary.to_pylist()]
    return pa.array(domains, pa.string()).take(encoded.indices)


def resolve_one(raw: str, base: str) -> ImageUrl | LinkReason:
    """The image a page means by `raw`, or why it means none.

    base: the page's base URL (see `base_url`). Resolved first and judged after, so that relative
    URLs are not lost.
    """
    if _DATA_URL.match(raw):
        return LinkReason.DATA_URL
    if len(raw) > MAX_URL_CHARS or not raw or raw.isspace():
        return LinkReason.BAD_URL
    try:
        url = ada_url.join_url(base, raw)
    except (ValueError, UnicodeError):
        return LinkReason.BAD_URL
    if not url.startswith(_HTTP):
        return LinkReason.DATA_URL if url.startswith("data:") else LinkReason.NOT_HTTP
    if len(url) > MAX_URL_CHARS:
        return LinkReason.BAD_URL
    canonical = canonical_url(url)
    return ImageUrl(url, canonical, registrable_domain(host_of(url)), ids.image_id(canonical))


def canonical_url(url: str) -> str:
    """The canonical form of a URL that is already in WHATWG serialisation."""
    return without_tracking(url.partition("#")[0])


def base_url(page_url: str, base_href: str | None) -> str:
    """What the relative URLs of a page are resolved against: its `base` element, or its own URL.

    A base that is no http(s) URL is ignored. Source: WHATWG HTML, section 4.2.3.
    """
    if base_href and len(base_href) <= MAX_URL_CHARS:
        try:
            base = ada_url.join_url(page_url, base_href)
        except (ValueError, UnicodeError):
            return page_url
        if base.startswith(_HTTP):
            return str(base)
    return page_url


def page_url(raw: str | None) -> str | None:
    """A page's own URL in WHATWG form; None when it is not http(s), or over MAX_URL_CHARS long.

    Some archives have it in angle brackets. Source: ISO 28500 (WARC 1.0), section 4, grammar.
    """
    if not raw or len(raw) > MAX_URL_CHARS:
        return None
    raw = raw.strip()
    if raw[0:1] == "<" and raw[-1] == ">":
        raw = raw[1:-1]
    try:
        url = ada_url.normalize_url(raw)
    except (ValueError, UnicodeError):
        return None
    return str(url) if url.startswith(_HTTP) else None


class PageUrls(NamedTuple):
    """Columns beside the URLs of pages: url, its `page_url`, and domain, both pa.string(), "" for
    none."""

    url: pa.Array
    domain: pa.Array


def page_urls(raws: pa.Array) -> PageUrls:
    """`page_url` of each, whole columns at once. raws: pa.string() without nulls."""
    pages = np.zeros(len(raws), np.int32)
    out, used, spans, states = _join(raws, pages, pa.array(_NO_BASE))
    is_http = pc.or_(*(pc.starts_with(raws, scheme) for scheme in _HTTP))
    # The kernel takes a relative URL as well, and has a bound on what the standard makes of it.
    is_good = (states == url_kernel.GOOD) & is_http.to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~is_good)
    if len(others):
        spans[:, others] = 0
        given = map(page_url, raws.take(pa.array(others)).to_pylist())
        found = zip(others.tolist(), given, strict=True)
        out = _add_texts(
            out[:used], spans, ((i, (url, "", host_of(url))) for i, url in found if url)
        )
    url, host = (strings.from_spans(out, spans[i], spans[i + 1]) for i in (0, 4))
    return PageUrls(url, _domains(host))


def host_of(url: str) -> str:
    """The host of an http(s) URL in WHATWG serialisation, without port and credentials."""
    authority = url[url.index("://") + 3 :].partition("/")[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


_KINDS = url_kernel.byte_kinds()
_NAMES = kernel_names()
_STATE_REASONS = np.zeros(4, np.int8)
_STATE_REASONS[url_kernel.DATA_URL] = reason_code(LinkReason.DATA_URL)
_STATE_REASONS[url_kernel.BAD_URL] = reason_code(LinkReason.BAD_URL)
