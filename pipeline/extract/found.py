"""What the kernels find on pages: spans of one growing buffer of bytes, page after page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.utf8 import find_invalid

Rows = npt.NDArray[np.int64]
N = TypeVar("N", bound=np.generic)

# Columns of the arrays of Found.
LINK_PAGE, LINK_POSITION, LINK_START, LINK_STOP, LINK_FLAGS = range(5)
CAPTION_LINK, CAPTION_KIND, CAPTION_START, CAPTION_STOP = range(4)
META_PAGE, META_KIND, META_START, META_STOP = range(4)
# The state: running counts, then what is known of the page that is read, which becomes its row of
# `pages`. Spans that are absent begin at -1.
HEAP, LINKS, CAPTIONS, METAS, PAGES = range(5)
(
    STATUS, BASE_START, BASE_STOP, LANG_START, LANG_STOP, SAMPLE_START, SAMPLE_STOP, POSITIONS,
    OVER_CAP, PAGE_METAS,
) = range(5, 15)  # fmt: skip
STATE_SIZE = 15

# Flags of a link.
IN_NOSCRIPT, IS_COPY, HAS_FIGURE = 1, 2, 4
# Text kept of each page to tell its language from: on real pages 2,048 bytes give another answer
# for fewer than 1%.
SAMPLE_BYTES = 512
MAX_METAS = 256
_WORD_BYTES = 8
# Read together: enough that the work on columns outweighs its fixed cost.
_FULL_BYTES, _FULL_ROWS, _FULL_PAGES = 8 << 20, 16_384, 4096
_MAX_KEPT_BYTES, _MAX_KEPT_ROWS = 64 << 20, 1 << 20


class _Least(NamedTuple):
    """Bytes that a link and a caption take at least."""

    link: int
    caption: int


# `<img>` and ` alt=x`; `{"path""IMG@/src"}` and `"alt""x"`, as nothing insists on the colon.
_LEAST_HTML_BYTES, _LEAST_WAT_BYTES = _Least(5, 5), _Least(18, 8)


@dataclass
class Found:
    """Everything found on the pages of one batch.

    data: uint8, the pages that are read, one after the other. heap: uint8, the bytes that all spans
    point into, valid UTF-8. links: int64 [., 5], one row per image link. captions: int64 [., 4],
    one row per caption of a link (a CaptionKind's index, or html.LABELLED_BY with the ids). metas:
    int64 [., 4]. pages: int64 [., STATE_SIZE]. state: int64 [STATE_SIZE]; its counts say how far
    the arrays are filled.
    """

    data: Bytes = field(default_factory=lambda: np.empty(1 << 20, np.uint8))
    heap: Bytes = field(default_factory=lambda: np.empty(1 << 20, np.uint8))
    scratch: Bytes = field(default_factory=lambda: np.empty(0, np.uint8))
    links: Rows = field(default_factory=lambda: np.empty((1 << 14, 5), np.int64))
    captions: Rows = field(default_factory=lambda: np.empty((1 << 15, 4), np.int64))
    metas: Rows = field(default_factory=lambda: np.empty((1 << 10, 4), np.int64))
    pages: Rows = field(default_factory=lambda: np.empty((0, STATE_SIZE), np.int64))
    state: Rows = field(default_factory=lambda: np.zeros(STATE_SIZE, np.int64))

    @property
    def is_full(self) -> bool:
        """Whether it is time to make rows of what was found."""
        heap, links, captions, _, pages, *_ = self.state.tolist()
        is_full = max(links, captions) >= _FULL_ROWS or heap >= _FULL_BYTES
        return bool(is_full or pages >= _FULL_PAGES)

    def clear(self) -> None:
        """Forget what was found; the buffers stay, unless they are very large."""
        self.state[:] = 0
        if len(self.heap) > _MAX_KEPT_BYTES:
            self.heap = np.empty(_MAX_KEPT_BYTES, np.uint8)
        if len(self.data) > _MAX_KEPT_BYTES:
            self.data = np.empty(_MAX_KEPT_BYTES, np.uint8)
            self.scratch = np.empty(0, np.uint8)
        if len(self.captions) > _MAX_KEPT_ROWS:
            self.links = np.empty((_MAX_KEPT_ROWS, 5), np.int64)
            self.captions = np.empty((_MAX_KEPT_ROWS, 4), np.int64)

    def read(
        self,
        read_pages: Callable[..., int],
        bodies: Sequence[bytes | memoryview],
        max_links: int,
        is_wat: bool,
    ) -> None:
        """Read some pages more.

        read_pages: html.read_pages or wat.read_pages. max_links: the most links taken of one page;
        others are counted. is_wat: the bodies are WAT records as they are stored, else HTML in
        valid UTF-8. Where text that is taken from a record is not UTF-8, the record is read again
        with U+FFFD in place of what is not. Memory: some six times the bytes of
        these bodies is used; rows for as many links and captions as they could hold are reserved.
        """
        starts, stops = self._fill(bodies)
        self._reserve([len(body) for body in bodies], max_links, is_wat)
        row = 0
        while True:
            spans = starts[row:], stops[row:]
            row += self._read(read_pages, self.data, *spans, max_links)
            if row == len(bodies):
                return
            body = bytes(bodies[row]).decode("utf-8", "replace").encode()
            self._reserve([*map(len, bodies[row:]), len(body)], max_links, is_wat)
            ends = np.array([0, len(body)], np.int64)
            data = np.frombuffer(bytearray(body), np.uint8)
            if not self._read(read_pages, data, ends[:1], ends[1:], max_links):
                raise AssertionError("text of a valid page is cut inside a character")
            row += 1

    def _read(
        self,
        read_pages: Callable[..., int],
        data: Bytes,
        starts: Rows,
        stops: Rows,
        max_links: int,
    ) -> int:
        return read_pages(
            data,
            starts,
            stops,
            max_links,
            self.heap,
            self.scratch,
            self.links,
            self.captions,
            self.metas,
            self.pages,
            self.state,
        )

    def _fill(self, bodies: Sequence[bytes | memoryview]) -> tuple[Rows, Rows]:
        """Put bodies into `data`, each from a whole word on: where each starts and stops."""
        total = sum(map(len, bodies)) + _WORD_BYTES * len(bodies)
        if total > len(self.data):
            self.data = np.empty(total, np.uint8)
        view = memoryview(self.data)  # type: ignore[arg-type]
        starts, stops, start = [], [], 0
        for body in bodies:
            stop = start + len(body)
            view[start:stop] = body
            starts.append(start)
            stops.append(stop)
            start = stop + _WORD_BYTES - 1 & -_WORD_BYTES
        return np.array(starts, np.int64), np.array(stops, np.int64)

    def _reserve(self, sizes: Sequence[int], max_links: int, is_wat: bool) -> None:
        """Make room for whatever pages of these sizes can give."""
        least = _LEAST_WAT_BYTES if is_wat else _LEAST_HTML_BYTES
        pages, total, state = len(sizes), sum(sizes), self.state.tolist()
        # Text with references resolved takes at most twice its bytes. Attributes take as much, and
        # once more while the best of a `srcset` is chosen; text is copied to the heap at most once.
        scratch = 2 * max(sizes) + 64
        if scratch > len(self.scratch):
            self.scratch = np.empty(scratch, np.uint8)
        heap = state[HEAP] + 5 * total + pages * (SAMPLE_BYTES + 192)
        if heap > len(self.heap):
            self.heap = _larger(self.heap, heap)
        # Figures and links around it give a link two captions more.
        most = min(max_links * pages, total // least.link + pages) + 2 * pages
        if state[LINKS] + most > len(self.links):
            self.links = _larger(self.links, state[LINKS] + most)
        captions = state[CAPTIONS] + 2 * most + total // least.caption
        if captions > len(self.captions):
            self.captions = _larger(self.captions, captions)
        if state[METAS] + pages * MAX_METAS > len(self.metas):
            self.metas = _larger(self.metas, state[METAS] + pages * MAX_METAS)
        if state[PAGES] + pages > len(self.pages):
            self.pages = _larger(self.pages, state[PAGES] + pages)

    def bytes_of(self, start: int, stop: int) -> bytes:
        """The bytes of a span."""
        return self.heap[start:stop].tobytes()

    def text(self, start: int, stop: int) -> str:
        """The text of a span."""
        return self.heap[start:stop].tobytes().decode("utf-8", "replace")

    def append(self, text: bytes) -> tuple[int, int]:
        """Put text on the heap; its span."""
        start = int(self.state[HEAP])
        stop = start + len(text)
        if stop > len(self.heap):
            larger = np.empty(2 * stop, np.uint8)
            larger[:start] = self.heap[:start]
            self.heap = larger
        self.heap[start:stop] = np.frombuffer(text, np.uint8)
        self.state[HEAP] = stop
        return start, stop


def _larger(array: npt.NDArray[N], rows: int) -> npt.NDArray[N]:
    """An array with room for so many rows and more, that holds what this one does."""
    larger = np.empty((max(rows, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def _is_invalid(heap: Bytes, spans: Rows, first: int, stop: int, start_column: int) -> bool:
    """Whether the text of one of spans[first:stop] is not UTF-8."""
    for row in range(first, stop):
        start = spans[row, start_column]
        if find_invalid(heap[start : spans[row, start_column + 1]]) >= 0:
            return True
    return False


@kernel
def is_valid_page(
    heap: Bytes, links: Rows, captions: Rows, metas: Rows, before: Rows, state: Rows
) -> bool:
    """Whether all texts of the page that was read last are UTF-8.

    before: int64, the state before that page was read.
    """
    for start in (BASE_START, LANG_START, SAMPLE_START):
        if state[start] >= 0 and find_invalid(heap[state[start] : state[start + 1]]) >= 0:
            return False
    return not (
        _is_invalid(heap, links, before[LINKS], state[LINKS], LINK_START)
        or _is_invalid(heap, captions, before[CAPTIONS], state[CAPTIONS], CAPTION_START)
        or _is_invalid(heap, metas, before[METAS], state[METAS], META_START)
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
    """Note an image link; its number. `_reserve` sees to the room."""
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
