"""What a batch of pages holds, as columns: links, captions, and what is true of each page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.reasons import CaptionKind, RecordReason
from pipeline.core.strings import from_spans
from pipeline.extract import html, json_ld, urls, wat
from pipeline.extract import vocabulary as v
from pipeline.extract.found import (
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
    OVER_CAP,
    PAGES,
    POSITIONS,
    SAMPLE_START,
    SAMPLE_STOP,
    STATUS,
    Found,
    Rows,
)
from pipeline.extract.optout import Named, Statements, statements
from pipeline.extract.page import Page

_KINDS = list(CaptionKind)
_ARIA_LABEL, _JSON_LD = _KINDS.index(CaptionKind.ARIA_LABEL), _KINDS.index(CaptionKind.JSON_LD)
# Far more than any caption; what is pasted into an attribute beyond it is not read.
_MAX_CAPTION_BYTES = 1 << 16
_SILENT = Statements()


@dataclass(frozen=True)
class Findings:
    """Columns over the pages, links and captions of one batch, in page order.

    reasons: why a record is no page after all, None for a page. Of pages [pages]: urls, bases
    (both WHATWG form), langs (declared, None for none), samples (pa.string(), text to tell the
    language from), stated, over_cap (int64, links beyond the cap). Of links [links]: link_pages,
    link_positions (int32), sources (pa.string(), as the page has them). Of captions [captions]:
    caption_links, caption_kinds (int64; the kind's place in CaptionKind), captions (pa.string()).
    """

    reasons: list[RecordReason | None]
    urls: list[str]
    offsets: list[int]
    bases: list[str]
    langs: list[str | None]
    samples: pa.Array
    stated: list[Statements]
    over_cap: npt.NDArray[np.int64]
    link_pages: npt.NDArray[np.int32]
    link_positions: npt.NDArray[np.int32]
    sources: pa.Array
    caption_links: npt.NDArray[np.int64]
    caption_kinds: npt.NDArray[np.int64]
    captions: pa.Array


def read_pages(pages: Sequence[Page], max_links: int, found: Found) -> None:
    """Read some pages more, of one format. max_links: the most image links taken of one page."""
    if pages:
        is_wat = pages[0].is_wat
        captions = int(found.state[CAPTIONS])
        read = wat.read_pages if is_wat else html.read_pages
        found.read(read, [page.body for page in pages], max_links, is_wat)
        if not is_wat:
            _read_labels(found, pages, captions)


def collect(pages: Sequence[Page], max_links: int, found: Found) -> Findings:
    """What was found on pages that were read, all of one format, of which `found` is then empty.

    pages: at least one. max_links: as they were read with.
    """
    is_wat = pages[0].is_wat
    facts = found.pages[: len(pages)]
    reasons: list[RecordReason | None] = [None] * len(pages)
    page_urls = [page.url for page in pages]
    if is_wat:
        reasons = [wat.reason_of(status) for status in facts[:, STATUS].tolist()]
        numbers = [i for i, reason in enumerate(reasons) if reason is None]
        resolved = urls.page_urls([page_urls[i] for i in numbers])
        page_urls = [""] * len(pages)
        for i, url in zip(numbers, resolved, strict=True):
            if url is None:
                reasons[i] = RecordReason.NOT_A_PAGE
            else:
                page_urls[i] = url
    links, captions = found.links[: found.state[LINKS]], found.captions[: found.state[CAPTIONS]]
    stated = [_SILENT] * len(pages)
    more_links, more_captions = _read_metas(found, pages, facts, max_links, stated)
    if more_links:
        links = np.concatenate([links, np.array(more_links, np.int64)])
        captions = np.concatenate([captions, np.array(more_captions, np.int64).reshape(-1, 4)])
    links, captions = _without_copies(links, captions, reasons)
    bases, langs = _bases_and_langs(found, page_urls, facts)
    findings = Findings(
        reasons,
        page_urls,
        [page.offset for page in pages],
        bases,
        langs,
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


def _bases_and_langs(
    found: Found, page_urls: list[str], facts: Rows
) -> tuple[list[str], list[str | None]]:
    bases, langs = list(page_urls), [None] * len(page_urls)  # type: list[str], list[str | None]
    for page in np.flatnonzero(facts[:, BASE_START] >= 0).tolist():
        href = found.text(facts[page, BASE_START], facts[page, BASE_STOP])
        bases[page] = urls.base_url(page_urls[page], href)
    for page in np.flatnonzero(facts[:, LANG_START] >= 0).tolist():
        langs[page] = found.text(facts[page, LANG_START], facts[page, LANG_STOP])
    return bases, langs


def _without_copies(
    links: Rows, captions: Rows, reasons: list[RecordReason | None]
) -> tuple[Rows, Rows]:
    """Links and captions without noscript copies, and without those of records that are no page."""
    is_kept = links[:, LINK_FLAGS] & IS_COPY == 0
    is_page = np.fromiter((reason is None for reason in reasons), np.bool_, len(reasons))
    is_kept &= is_page[links[:, LINK_PAGE]]
    if is_kept.all():
        return links, captions
    captions = captions[is_kept[captions[:, CAPTION_LINK]]]
    captions[:, CAPTION_LINK] = (np.cumsum(is_kept) - 1)[captions[:, CAPTION_LINK]]
    return links[is_kept], captions


def _read_metas(
    found: Found, pages: Sequence[Page], facts: Rows, max_links: int, stated: list[Statements]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Fill in what pages state; the links and captions of JSON-LD, as rows of Found."""
    by_page: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for page, kind, start, stop in found.metas[: found.state[METAS]].tolist():
        by_page[page].append((kind, start, stop))
    for number, opened in enumerate(pages):
        if opened.stated or number in by_page:
            stated[number] = _state(found, opened, by_page.get(number, []))
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
    return links, captions


def _state(found: Found, page: Page, metas: list[tuple[int, int, int]]) -> Statements:
    texts: dict[int, list[str]] = defaultdict(list)
    robots = []
    for kind, start, stop in metas:
        if kind >= v.FIRST_AGENT:
            robots.append((v.AGENT_NAMES[kind - v.FIRST_AGENT], found.text(start, stop)))
        elif kind != v.JSON_LD:
            texts[kind].append(found.text(start, stop))
    for name, value in page.stated:
        texts[v.HEADER_NUMBERS[name]].append(value)
    if not robots and not texts:
        return _SILENT
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


def _read_labels(found: Found, pages: Sequence[Page], first: int) -> None:
    """Put the texts in the place of the ids that aria-labelledby gives.

    pages: those that were read last. first: of their captions.
    """
    captions = found.captions[: found.state[CAPTIONS]]
    rows = first + np.flatnonzero(captions[first:, CAPTION_KIND] == html.LABELLED_BY)
    if not len(rows):
        return
    from pipeline.extract.labels import labels

    first_page = int(found.state[PAGES]) - len(pages)
    of_page: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        page = int(found.links[captions[row, CAPTION_LINK], LINK_PAGE])
        of_page[page - first_page].append(row)
    for number, wanted in of_page.items():
        references = [found.text(*captions[row, CAPTION_START:]) for row in wanted]
        body = bytes(pages[number].body)
        for row, text in zip(wanted, labels(body, references), strict=True):
            captions[row, CAPTION_KIND] = _ARIA_LABEL
            captions[row, CAPTION_START:] = found.append(text.encode("utf-8", "replace"))
