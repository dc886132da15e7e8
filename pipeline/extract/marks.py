"""Marks of what is found on pages: spans of one buffer of bytes, in arrays that kernels fill."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.utf8 import find_invalid

Rows = npt.NDArray[np.int64]

# Columns of the arrays of Found.
LINK_PAGE, LINK_POSITION, LINK_START, LINK_STOP, LINK_FLAGS = range(5)
CAPTION_LINK, CAPTION_KIND, CAPTION_START, CAPTION_STOP = range(4)
META_PAGE, META_KIND, META_START, META_STOP = range(4)
# The state: running counts, then what is known of the page that is read, which becomes its row of
# `pages`. Spans that are absent begin at -1. URL and offset are filled in when pages are read.
HEAP, LINKS, CAPTIONS, METAS, PAGES = range(5)
(
    STATUS, BASE_START, BASE_STOP, LANG_START, LANG_STOP, SAMPLE_START, SAMPLE_STOP, POSITIONS,
    OVER_CAP, PAGE_METAS, URL_START, URL_STOP, OFFSET,
) = range(5, 18)  # fmt: skip
STATE_SIZE = 18
# Columns of the places of Bodies.
BODY_START, BODY_STOP, BODY_URL_START, BODY_URL_STOP = range(4)

# Flags of a link.
IN_NOSCRIPT, IS_COPY, HAS_FIGURE = 1, 2, 4
# Text kept of each page to tell its language from: on real pages 2,048 bytes give another answer
# for fewer than 1%.
SAMPLE_BYTES = 512
MAX_METAS = 256
# Read together: enough that the work on columns outweighs its fixed cost.
FULL_BYTES, FULL_ROWS, FULL_PAGES = 8 << 20, 16_384, 4096


class Least(NamedTuple):
    """Bytes that a link and a caption take at least."""

    link: int
    caption: int


# `<img>` and ` alt=x`; `{"path""IMG@/src"}` and `"alt""x"`, as nothing insists on the colon.
LEAST_HTML_BYTES, LEAST_WAT_BYTES = Least(5, 5), Least(18, 8)


@kernel
def room_for(
    pages: int,
    total: int,
    largest: int,
    url_bytes: int,
    max_links: int,
    least: Least,
    state: Rows,
    needs: Rows,
) -> None:
    """How long scratch, heap, links, captions, metas and pages must be: see `Found.reserve`.

    needs: int64 [6], filled.
    """
    # Text with references resolved takes at most twice its bytes. Attributes take as much, and
    # once more while the best of a `srcset` is chosen; text is copied to the heap at most once.
    needs[0] = 2 * largest + 64
    needs[1] = state[HEAP] + 5 * total + url_bytes + pages * (SAMPLE_BYTES + 192)
    # Figures and links around it give a link two captions more.
    most = min(max_links * pages, total // least.link + pages) + 2 * pages
    needs[2] = state[LINKS] + most
    needs[3] = state[CAPTIONS] + 2 * most + total // least.caption
    needs[4] = state[METAS] + pages * MAX_METAS
    needs[5] = state[PAGES] + pages


@kernel
def is_full(state: Rows) -> bool:
    """Whether it is time to make rows of what was found."""
    rows = max(state[LINKS], state[CAPTIONS])
    return bool(rows >= FULL_ROWS or state[HEAP] >= FULL_BYTES or state[PAGES] >= FULL_PAGES)


@kernel
def copy_state(source: Rows, target: Rows, size: int) -> None:
    """target[:size] = source[:size], for which Numba would count arrays."""
    for i in range(size):
        target[i] = source[i]


@kernel
def add_url(
    data: Bytes, start: int, stop: int, heap: Bytes, pages: Rows, page: int, state: Rows
) -> None:
    """Put the URL of a page on the heap."""
    at, size = state[HEAP], stop - start
    for i in range(size):
        heap[at + i] = data[start + i]
    pages[page, URL_START], pages[page, URL_STOP] = at, at + size
    state[HEAP] = at + size


@kernel
def add_urls(data: Bytes, places: Rows, heap: Bytes, pages: Rows, state: Rows) -> None:
    """Put the URLs of pages on the heap. places: of Bodies, those of `pages`."""
    for row in range(len(places)):
        start, stop = places[row, BODY_URL_START], places[row, BODY_URL_STOP]
        add_url(data, start, stop, heap, pages, row, state)


@kernel
def _is_inside(heap: Bytes, at: int) -> bool:
    """Whether heap[at], of valid UTF-8, is a further byte of a character."""
    return bool(0x80 <= heap[at] < 0xC0)


@kernel
def _is_valid_text(heap: Bytes, start: int, stop: int, valid_until: int) -> bool:
    """valid_until: where what is known to be valid with it ends, -1 where that is not known."""
    if start < 0 or start == stop:
        return True
    if valid_until < 0:
        return bool(find_invalid(heap[start:stop]) < 0)
    return not (_is_inside(heap, start) or (stop < valid_until and _is_inside(heap, stop)))


@kernel
def _are_valid(
    heap: Bytes, spans: Rows, first: int, stop: int, start_column: int, valid_until: int
) -> bool:
    """Whether the texts of spans[first:stop] are UTF-8."""
    for row in range(first, stop):
        start, end = spans[row, start_column], spans[row, start_column + 1]
        if not _is_valid_text(heap, start, end, valid_until):
            return False
    return True


@kernel
def is_valid_page(
    heap: Bytes, links: Rows, captions: Rows, metas: Rows, before: Rows, state: Rows
) -> bool:
    """Whether all texts of the page that was read last are UTF-8.

    before: int64, the state before that page was read.
    """
    # Its texts follow one another on the heap: they are looked at together, and one by one only
    # where that fails.
    is_valid = find_invalid(heap[before[HEAP] : state[HEAP]]) < 0
    until = signed(state[HEAP]) if is_valid else signed(-1)
    for start in (BASE_START, LANG_START, SAMPLE_START):
        if not _is_valid_text(heap, state[start], state[start + 1], until):
            return False
    return (
        _are_valid(heap, links, before[LINKS], state[LINKS], LINK_START, until)
        and _are_valid(heap, captions, before[CAPTIONS], state[CAPTIONS], CAPTION_START, until)
        and _are_valid(heap, metas, before[METAS], state[METAS], META_START, until)
    )


@kernel
def new_page(state: Rows) -> None:
    """Set a page's part of the state."""
    for i in range(STATUS, STATE_SIZE):
        state[i] = -1
    state[STATUS] = 0
    state[POSITIONS] = 0
    state[OVER_CAP] = 0
    state[PAGE_METAS] = 0


@kernel
def add_link(page: int, start: int, stop: int, flags: int, links: Rows, state: Rows) -> int:
    """Note an image link; its number. `room_for` sees to the room."""
    link = signed(state[LINKS])
    if link < len(links):
        links[link, LINK_PAGE] = page
        links[link, LINK_POSITION] = state[POSITIONS]
        links[link, LINK_START] = start
        links[link, LINK_STOP] = stop
        links[link, LINK_FLAGS] = flags
        state[LINKS] = link + 1
        state[POSITIONS] += 1
    return link


@kernel
def add_caption(link: int, kind: int, start: int, stop: int, captions: Rows, state: Rows) -> None:
    """Note a caption of a link; beyond the room it is left out."""
    row = state[CAPTIONS]
    if row < len(captions):
        captions[row, CAPTION_LINK] = link
        captions[row, CAPTION_KIND] = kind
        captions[row, CAPTION_START] = start
        captions[row, CAPTION_STOP] = stop
        state[CAPTIONS] = row + 1


@kernel
def add_meta(page: int, kind: int, start: int, stop: int, metas: Rows, state: Rows) -> None:
    """Note a meta or header of a page; beyond MAX_METAS of one page they are left out."""
    row = state[METAS]
    if row < len(metas) and state[PAGE_METAS] < MAX_METAS:
        metas[row, META_PAGE] = page
        metas[row, META_KIND] = kind
        metas[row, META_START] = start
        metas[row, META_STOP] = stop
        state[METAS] = row + 1
        state[PAGE_METAS] += 1
