"""What the kernels find on pages: spans of one growing buffer of bytes, page after page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.utf8 import find_invalid_rows

Rows = npt.NDArray[np.int64]
N = TypeVar("N", bound=np.generic)

# Columns of the arrays of Found.
LINK_PAGE, LINK_POSITION, LINK_START, LINK_STOP, LINK_FLAGS = range(5)
CAPTION_LINK, CAPTION_KIND, CAPTION_START, CAPTION_STOP = range(4)
META_PAGE, META_KIND, META_START, META_STOP = range(4)
# The state: running counts, then what is known of the page that is read, which becomes its row of
# `pages`. Spans that are absent begin at -1.
HEAP, LINKS, CAPTIONS, METAS = range(4)
(
    STATUS, BASE_START, BASE_STOP, LANG_START, LANG_STOP, SAMPLE_START, SAMPLE_STOP, POSITIONS,
    OVER_CAP, PAGE_METAS,
) = range(4, 14)  # fmt: skip
STATE_SIZE = 14

# Flags of a link.
IN_NOSCRIPT, IS_COPY, HAS_FIGURE = 1, 2, 4
# Text kept of each page to tell its language from: on real pages 2,048 bytes give another answer
# for fewer than 1%.
SAMPLE_BYTES = 512
MAX_METAS = 256
_WORD_BYTES = 8


class _Least(NamedTuple):
    """Bytes that a link and a caption take at least."""

    link: int
    caption: int


# `<img>` and ` alt=x`; `{"path""IMG@/src"}` and `"alt""x"`, as nothing insists on the colon.
_LEAST_HTML_BYTES, _LEAST_WAT_BYTES = _Least(5, 5), _Least(18, 8)


@dataclass
class Found:
    """Everything found on the pages of one batch.

    data: uint8, the pages one after the other. heap: uint8, the bytes that all spans point into,
    valid UTF-8. links: int64 [., 5], one row per image link. captions: int64 [., 4], one row per
    caption of a link (a CaptionKind's index, or html.LABELLED_BY with the ids). metas: int64
    [., 4]. pages: int64 [pages, STATE_SIZE]. state: int64 [STATE_SIZE]; its counts say how far the
    arrays are filled.
    """

    data: Bytes = field(default_factory=lambda: np.empty(1 << 20, np.uint8))
    heap: Bytes = field(default_factory=lambda: np.empty(1 << 20, np.uint8))
    scratch: Bytes = field(default_factory=lambda: np.empty(0, np.uint8))
    links: Rows = field(default_factory=lambda: np.empty((1 << 14, 5), np.int64))
    captions: Rows = field(default_factory=lambda: np.empty((1 << 15, 4), np.int64))
    metas: Rows = field(default_factory=lambda: np.empty((1 << 10, 4), np.int64))
    pages: Rows = field(default_factory=lambda: np.empty((0, STATE_SIZE), np.int64))
    state: Rows = field(default_factory=lambda: np.zeros(STATE_SIZE, np.int64))

    def read(
        self,
        read_pages: Callable[..., None],
        bodies: Sequence[bytes],
        max_links: int,
        is_wat: bool,
    ) -> None:
        """Read pages anew; what was found before is forgotten, the buffers stay.

        read_pages: html.read_pages or wat.read_pages. max_links: the most links taken of one page;
        others are counted. is_wat: the bodies are WAT records as they are stored, in which what is
        not UTF-8 becomes U+FFFD, else HTML in valid UTF-8. Memory: some six times the bytes of all
        bodies is used; rows for as many links and captions as they could hold are reserved.
        """
        least = _LEAST_WAT_BYTES if is_wat else _LEAST_HTML_BYTES
        starts, stops = self._fill(bodies, max_links, least)
        is_bad = np.zeros(len(bodies), np.bool_)
        if is_wat and find_invalid_rows(self.data, starts, stops, is_bad):
            mended = [
                body.decode("utf-8", "replace").encode() if bad else body
                for body, bad in zip(bodies, is_bad.tolist(), strict=True)
            ]
            starts, stops = self._fill(mended, max_links, least)
        read_pages(
            self.data,
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

    def _fill(self, bodies: Sequence[bytes], max_links: int, least: _Least) -> tuple[Rows, Rows]:
        """Put bodies into `data`, each from a whole word on: where each starts and stops."""
        sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
        self._reserve(sizes, max_links, least)
        ends = np.cumsum(sizes + _WORD_BYTES - 1 & -_WORD_BYTES)
        starts = np.concatenate(([0], ends[:-1]))
        stops = starts + sizes
        view = memoryview(self.data)  # type: ignore[arg-type]
        for start, stop, body in zip(starts.tolist(), stops.tolist(), bodies, strict=True):
            view[start:stop] = body
        return starts, stops

    def _reserve(self, sizes: Rows, max_links: int, least: _Least) -> None:
        """Make room for whatever pages of these sizes can give."""
        self.state[:] = 0
        pages, total, largest = len(sizes), int(sizes.sum()), int(sizes.max(initial=0))
        # Text with references resolved takes at most twice its bytes. Attributes take as much, and
        # once more while the best of a `srcset` is chosen; text is copied to the heap at most once.
        self.data = _room(self.data, total + _WORD_BYTES * pages)
        scratch = 2 * largest + 64
        if not scratch <= len(self.scratch) <= 4 * scratch + (1 << 18):
            self.scratch = np.empty(scratch, np.uint8)
        text = np.minimum(2 * sizes + 64, len(self.scratch)).sum()
        room = 3 * total + int(text) + pages * (SAMPLE_BYTES + 128)
        self.heap = _room(self.heap, room)
        # Figures and links around it give a link two captions more.
        links = int((np.minimum(max_links, sizes // least.link + 1) + 2).sum())
        self.links = _room(self.links, links)
        self.captions = _room(self.captions, 2 * links + total // least.caption)
        self.metas = _room(self.metas, pages * MAX_METAS)
        self.pages = _room(self.pages, pages)

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


def _room(array: npt.NDArray[N], rows: int) -> npt.NDArray[N]:
    """An array with room for so many rows, not much more; what it held is not kept."""
    if rows <= len(array) <= 8 * rows + (1 << 22):
        return array
    return np.empty((rows, *array.shape[1:]), array.dtype)


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
