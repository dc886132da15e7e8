"""What the kernels find on pages: spans of one growing buffer of bytes, page after page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.strings import Bytes
from pipeline.extract.marks import (
    BODY_START,
    BODY_STOP,
    BODY_URL_START,
    BODY_URL_STOP,
    FULL_BYTES,
    FULL_PAGES,
    FULL_ROWS,
    HEAP,
    LEAST_HTML_BYTES,
    LEAST_WAT_BYTES,
    OFFSET,
    PAGES,
    STATE_SIZE,
    Rows,
    add_urls,
    is_full,
    room_for,
)

N = TypeVar("N", bound=np.generic)
_WORD_BYTES = 8
_MAX_KEPT_BYTES, _MAX_KEPT_ROWS = 64 << 20, 1 << 20


class Bodies(NamedTuple):
    """Pages to be read, all of one format.

    data: uint8, with HTML in UTF-8 or WAT records as they are stored, and URLs in UTF-8. places:
    int64 [pages, 4], where in data the page and its URL start and stop. offsets: int64 [pages], of
    their records in the archive.
    """

    data: Bytes
    places: Rows
    offsets: Rows
    is_wat: bool


@dataclass
class Found:
    """Everything found on the pages of one batch.

    data: uint8, pages that were gathered. heap: uint8, the bytes that all spans point into, valid
    UTF-8. links: int64 [., 5], one row per image link. captions: int64 [., 4],
    one row per caption of a link (a CaptionKind's index, or html.LABELLED_BY with the ids). metas:
    int64 [., 4]. pages: int64 [., STATE_SIZE]. state: int64 [STATE_SIZE]; its counts say how far
    the arrays are filled. is_wat: of the pages that were read last. stated: the headers about use
    of pages that have any, by page; of HTML alone, as those of WAT records are metas.
    """

    data: Bytes = field(default_factory=lambda: np.empty(1 << 20, np.uint8))
    heap: Bytes = field(default_factory=lambda: np.empty(FULL_BYTES + (1 << 20), np.uint8))
    scratch: Bytes = field(default_factory=lambda: np.empty(0, np.uint8))
    links: Rows = field(default_factory=lambda: np.empty((2 * FULL_ROWS, 5), np.int64))
    captions: Rows = field(default_factory=lambda: np.empty((4 * FULL_ROWS, 4), np.int64))
    metas: Rows = field(default_factory=lambda: np.empty((2 * FULL_PAGES, 4), np.int64))
    pages: Rows = field(default_factory=lambda: np.empty((FULL_PAGES, STATE_SIZE), np.int64))
    state: Rows = field(default_factory=lambda: np.zeros(STATE_SIZE, np.int64))
    is_wat: bool = False
    stated: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.state[PAGES])

    @property
    def is_full(self) -> bool:
        """Whether it is time to make rows of what was found."""
        return bool(is_full(self.state))

    def clear(self) -> None:
        """Forget what was found; the buffers stay, unless they are very large."""
        self.state[:] = 0
        self.stated = {}
        if len(self.heap) > _MAX_KEPT_BYTES:
            self.heap = np.empty(_MAX_KEPT_BYTES, np.uint8)
        if len(self.data) > _MAX_KEPT_BYTES:
            self.data = np.empty(_MAX_KEPT_BYTES, np.uint8)
        if len(self.scratch) > _MAX_KEPT_BYTES:
            self.scratch = np.empty(0, np.uint8)
        if len(self.captions) > _MAX_KEPT_ROWS:
            self.links = np.empty((_MAX_KEPT_ROWS, 5), np.int64)
            self.captions = np.empty((_MAX_KEPT_ROWS, 4), np.int64)

    def read(self, read_pages: Callable[..., int], bodies: Bodies, max_links: int) -> None:
        """Read some pages more.

        read_pages: html.read_pages or wat.read_pages. max_links: the most links taken of one page;
        others are counted. Where text that is taken from a record is not UTF-8, the record is read
        again with U+FFFD in place of what is not. Memory: some six times the bytes of these bodies
        is used; rows for as many links and captions as they could hold are reserved.
        """
        self.is_wat = bodies.is_wat
        places, first = bodies.places, len(self)
        sizes = places[:, BODY_STOP] - places[:, BODY_START]
        url_bytes = int((places[:, BODY_URL_STOP] - places[:, BODY_URL_START]).sum())
        self._reserve(sizes, url_bytes, max_links)
        row, count = 0, len(sizes)
        while True:
            row += self._read(read_pages, bodies.data, places[row:], max_links)
            if row == count:
                break
            given = bodies.data[places[row, BODY_START] : places[row, BODY_STOP]]
            body = given.tobytes().decode("utf-8", "replace").encode()
            self._reserve(np.append(sizes[row:], len(body)), url_bytes, max_links)
            place = np.array([[0, len(body), 0, 0]], np.int64)
            data = np.frombuffer(bytearray(body), np.uint8)
            if not self._read(read_pages, data, place, max_links):
                raise AssertionError("text of a valid page is cut inside a character")
            row += 1
        pages = self.pages[first : first + count]
        add_urls(bodies.data, places, self.heap, pages, self.state)
        pages[:, OFFSET] = bodies.offsets

    def _read(
        self,
        read_pages: Callable[..., int],
        data: Bytes,
        places: Rows,
        max_links: int,
    ) -> int:
        return read_pages(
            data,
            places,
            max_links,
            self.heap,
            self.scratch,
            self.links,
            self.captions,
            self.metas,
            self.pages,
            self.state,
        )

    def gather(
        self,
        bodies: Sequence[bytes],
        urls: Sequence[bytes],
        offsets: Sequence[int],
        is_wat: bool,
    ) -> Bodies:
        """Pages in `data`, each body from a whole word on; good until it is asked for others."""
        total = sum(map(len, bodies)) + sum(map(len, urls)) + 2 * _WORD_BYTES * len(bodies)
        if total > len(self.data):
            self.data = np.empty(total, np.uint8)
        view = memoryview(self.data)  # type: ignore[arg-type]
        places, start = np.empty((len(bodies), 4), np.int64), 0
        for row, (body, url) in enumerate(zip(bodies, urls, strict=True)):
            stop = start + len(body)
            end = stop + len(url)
            view[start:stop], view[stop:end] = body, url
            places[row] = start, stop, stop, end
            start = end + _WORD_BYTES - 1 & -_WORD_BYTES
        return Bodies(self.data, places, np.array(offsets, np.int64), is_wat)

    def _reserve(self, sizes: Rows, url_bytes: int, max_links: int) -> None:
        self.reserve(len(sizes), int(sizes.sum()), int(sizes.max()), url_bytes, max_links)

    def reserve(self, pages: int, total: int, largest: int, url_bytes: int, max_links: int) -> None:
        """Make room for whatever some pages can give, of so many bytes together and of which the
        largest has so many, and for their URLs."""
        least = LEAST_WAT_BYTES if self.is_wat else LEAST_HTML_BYTES
        needs = np.empty(6, np.int64)
        room_for(pages, total, largest, url_bytes, max_links, least, self.state, needs)
        scratch, heap, links, captions, metas, rows = needs.tolist()
        if scratch > len(self.scratch):
            self.scratch = np.empty(scratch, np.uint8)
        if heap > len(self.heap):
            self.heap = _larger(self.heap, heap)
        if links > len(self.links):
            self.links = _larger(self.links, links)
        if captions > len(self.captions):
            self.captions = _larger(self.captions, captions)
        if metas > len(self.metas):
            self.metas = _larger(self.metas, metas)
        if rows > len(self.pages):
            self.pages = _larger(self.pages, rows)

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
