"""What a batch of pages holds, as columns: links, captions, and what is true of each page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.reasons import CaptionKind, RecordReason
from pipeline.core.strings import from_spans
from pipeline.extract import html, json_ld, urls, wat
from pipeline.extract import vocabulary as v
from pipeline.extract.found import Found
from pipeline.extract.marks import (
    BASE_START,
    BASE_STOP,
    CAPTION_KIND,
    CAPTION_LINK,
    CAPTION_START,
    CAPTION_STOP,
    CAPTIONS,
    IS_COPY,
    LANG_START,
    LANG_STOP,
    LINK_FLAGS,
    LINK_PAGE,
    LINK_POSITION,
    LINK_START,
    LINK_STOP,
    LINKS,
    METAS,
    OFFSET,
    OVER_CAP,
    POSITIONS,
    SAMPLE_START,
    SAMPLE_STOP,
    STATUS,
    URL_START,
    URL_STOP,
    Rows,
)
from pipeline.extract.optout import Named, Statements, statements
from pipeline.extract.page import Page

_KINDS = list(CaptionKind)
_ARIA_LABEL, _JSON_LD = _KINDS.index(CaptionKind.ARIA_LABEL), _KINDS.index(CaptionKind.JSON_LD)
# Far more than any caption; what is pasted into an attribute beyond it is not read.
_MAX_CAPTION_BYTES = 1 << 16
_MAX_KNOWN_BYTES = 500


@dataclass(frozen=True)
class Findings:
    """Columns over the pages, links and captions of one batch, in page order.

    Of pages [pages]: statuses (int64, of `wat.reason_of`), page_urls, bases (pa.string(), WHATWG
    form), langs (pa.string(), declared, null for none), samples (pa.string(), text to tell the
    language from), over_cap (int64, links beyond the cap), offsets (int64, of their records).
    stated: by page, of those that state anything. Of links [links]: link_pages,
    link_positions (int32), sources (pa.string(), as the page has them). Of captions [captions]:
    caption_links, caption_kinds (int64; the kind's place in CaptionKind), captions (pa.string()).
    """

    statuses: Rows
    page_urls: urls.PageUrls
    offsets: Rows
    bases: pa.Array
    langs: pa.Array
    samples: pa.Array
    stated: dict[int, Statements]
    over_cap: npt.NDArray[np.int64]
    link_pages: npt.NDArray[np.int32]
    link_positions: npt.NDArray[np.int32]
    sources: pa.Array
    caption_links: npt.NDArray[np.int64]
    caption_kinds: npt.NDArray[np.int64]
    captions: pa.Array

    @property
    def reasons(self) -> list[RecordReason | None]:
        """Why a record is no page after all, None for a page."""
        return [wat.reason_of(status) for status in self.statuses.tolist()]


def read_pages(pages: Sequence[Page], max_links: int, found: Found) -> None:
    """Read some pages more, of one format. max_links: the most image links taken of one page."""
    if pages:
        is_wat = pages[0].is_wat
        first, captions = len(found), int(found.state[CAPTIONS])
        texts, page_urls = [page.body for page in pages], [page.url.encode() for page in pages]
        bodies = found.gather(texts, page_urls, [page.offset for page in pages], is_wat)
        found.read(wat.read_pages if is_wat else html.read_pages, bodies, max_links)
        found.stated |= {first + n: page.stated for n, page in enumerate(pages) if page.stated}
        if not is_wat:
            _read_labels(found, texts, first, captions)


def collect(max_links: int, found: Found) -> Findings:
    """What was found on pages that were read, all of one format, of which `found` is then empty.

    max_links: as they were read with.
    """
    facts = found.pages[: len(found)]
    statuses = facts[:, STATUS].copy()
    page_urls = _page_urls(found, facts, statuses)
    links, captions = found.links[: found.state[LINKS]], found.captions[: found.state[CAPTIONS]]
    stated, more_links, more_captions = _read_metas(found, facts, max_links)
    if more_links:
        links = np.concatenate([links, np.array(more_links, np.int64)])
        captions = np.concatenate([captions, np.array(more_captions, np.int64).reshape(-1, 4)])
    links, captions = _without_copies(links, captions, statuses)
    langs = _spans(found, facts[:, LANG_START], facts[:, LANG_STOP])
    findings = Findings(
        statuses,
        page_urls,
        facts[:, OFFSET].copy(),
        _bases(found, page_urls.url, facts),
        pc.if_else(pa.array(facts[:, LANG_START] >= 0), langs, None),
        _spans(found, facts[:, SAMPLE_START], facts[:, SAMPLE_STOP]),
        stated,
        facts[:, OVER_CAP].copy(),
        links[:, LINK_PAGE].astype(np.int32),
        links[:, LINK_POSITION].astype(np.int32),
        _spans(found, links[:, LINK_START], links[:, LINK_STOP]),
        captions[:, CAPTION_LINK].copy(),
        captions[:, CAPTION_KIND].copy(),
        _caption_texts(found, captions),
    )
    found.clear()
    return findings


def _page_urls(found: Found, facts: Rows, statuses: Rows) -> urls.PageUrls:
    """The URLs of pages, "" for what is none; so is a record whose URL is none of a page."""
    is_page = statuses == wat.PAGE
    given = _spans(found, np.where(is_page, facts[:, URL_START], -1), facts[:, URL_STOP])
    if not found.is_wat:  # these are in WHATWG form
        return urls.PageUrls(given, urls.domains(given))
    page_urls = urls.page_urls(given)
    is_none = pc.binary_length(page_urls.url).to_numpy() == 0
    statuses[is_page & is_none] = wat.NOT_A_PAGE
    return page_urls


def _spans(found: Found, starts: Rows, stops: Rows) -> pa.Array:
    absent = starts < 0
    return from_spans(found.heap, np.where(absent, 0, starts), np.where(absent, 0, stops))


def _caption_texts(found: Found, captions: Rows) -> pa.Array:
    starts, stops = captions[:, CAPTION_START].copy(), captions[:, CAPTION_STOP].copy()
    for row in np.flatnonzero(stops - starts > _MAX_CAPTION_BYTES).tolist():
        stop = int(starts[row]) + _MAX_CAPTION_BYTES
        while 0x80 <= found.heap[stop] < 0xC0:  # not inside a character
            stop -= 1
        stops[row] = stop
    return from_spans(found.heap, starts, stops)


def _bases(found: Found, page_urls: pa.Array, facts: Rows) -> pa.Array:
    has_base = facts[:, BASE_START] >= 0
    pages = np.flatnonzero(has_base)
    if not len(pages):
        return page_urls
    spans = facts[pages, BASE_START : BASE_STOP + 1].tolist()
    of_pages = page_urls.take(pa.array(pages)).to_pylist()
    hrefs = (found.text(*span) for span in spans)
    bases = [urls.base_url(*both) for both in zip(of_pages, hrefs, strict=True)]
    return pc.replace_with_mask(page_urls, pa.array(has_base), pa.array(bases, pa.string()))


def _without_copies(links: Rows, captions: Rows, statuses: Rows) -> tuple[Rows, Rows]:
    """Links and captions without noscript copies, and without those of records that are no page."""
    is_kept = links[:, LINK_FLAGS] & IS_COPY == 0
    is_kept &= (statuses == wat.PAGE)[links[:, LINK_PAGE]]
    if is_kept.all():
        return links, captions
    captions = captions[is_kept[captions[:, CAPTION_LINK]]]
    captions[:, CAPTION_LINK] = (np.cumsum(is_kept) - 1)[captions[:, CAPTION_LINK]]
    return links[is_kept], captions


def _read_metas(
    found: Found, facts: Rows, max_links: int
) -> tuple[dict[int, Statements], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """What pages state, by page; the links and captions of JSON-LD, as rows of Found."""
    by_page: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for page, kind, start, stop in found.metas[: found.state[METAS]].tolist():
        by_page[page].append((kind, start, stop))
    heap = memoryview(found.heap)  # type: ignore[arg-type]
    stated = {}
    for page in by_page.keys() | found.stated.keys():
        metas = by_page.get(page, ())
        texts = tuple((k, bytes(heap[a:b])) for k, a, b in metas if k != v.JSON_LD)
        stated[page] = _state(texts, found.stated.get(page, ()))
    links: list[tuple[int, ...]] = []
    captions: list[tuple[int, ...]] = []
    first = int(found.state[LINKS])
    for number, metas in by_page.items():
        position = int(facts[number, POSITIONS])
        for kind, start, stop in metas:
            if kind != v.JSON_LD:
                continue
            for url, caption in json_ld.images(found.bytes_of(start, stop)):
                if position >= max_links:
                    facts[number, OVER_CAP] += 1
                    continue
                span = found.append(url.encode("utf-8", "replace"))
                if caption:
                    text = found.append(caption.encode("utf-8", "replace"))
                    captions.append((first + len(links), _JSON_LD, *text))
                links.append((number, position, *span, 0))
                position += 1
    return stated, links, captions


def _state(
    metas: tuple[tuple[int, bytes], ...], headers: tuple[tuple[str, str], ...]
) -> Statements:
    """What a page states. metas: (kind, content), without those of JSON-LD. headers: names in lower
    case."""
    # Most pages state what many others do; long statements are not worth the memory.
    size = sum(len(text) for _, text in metas) + sum(len(text) for _, text in headers)
    return _known_state(metas, headers) if size <= _MAX_KNOWN_BYTES else _new_state(metas, headers)


def _new_state(
    metas: tuple[tuple[int, bytes], ...], headers: tuple[tuple[str, str], ...]
) -> Statements:
    texts: dict[int, list[str]] = defaultdict(list)
    robots = []
    for kind, content in metas:
        text = content.decode("utf-8", "replace")
        if kind >= v.FIRST_AGENT:
            robots.append((v.AGENT_NAMES[kind - v.FIRST_AGENT], text))
        else:
            texts[kind].append(text)
    for name, value in headers:
        texts[v.HEADER_NUMBERS[name]].append(value)
    return statements(
        Named(
            tuple(robots),
            tuple(texts[v.HEADER_ROBOTS_TAG]),
            tuple(texts[v.TDM_RESERVATION]),
            tuple(texts[v.HEADER_TDM_RESERVATION]),
            tuple(texts[v.TDM_POLICY]),
            tuple(texts[v.HEADER_TDM_POLICY]),
        )
    )


_known_state = lru_cache(maxsize=4096)(_new_state)


def _read_labels(found: Found, bodies: Sequence[bytes], first_page: int, first: int) -> None:
    """Put the texts in the place of the ids that aria-labelledby gives.

    bodies: of the pages that were read last, from first_page on. first: of their captions.
    """
    captions = found.captions[: found.state[CAPTIONS]]
    rows = first + np.flatnonzero(captions[first:, CAPTION_KIND] == html.LABELLED_BY)
    if not len(rows):
        return
    from pipeline.extract.labels import labels

    of_page: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        page = int(found.links[captions[row, CAPTION_LINK], LINK_PAGE])
        of_page[page - first_page].append(row)
    for number, wanted in of_page.items():
        references = [found.text(*captions[row, CAPTION_START:]) for row in wanted]
        for row, text in zip(wanted, labels(bodies[number], references), strict=True):
            captions[row, CAPTION_KIND] = _ARIA_LABEL
            captions[row, CAPTION_START:] = found.append(text.encode("utf-8", "replace"))
