"""WAT records from gzip members to Found in one go: each is inflated, its header and its JSON read
while it is in the processor's cache, without Python between records."""

from typing import NamedTuple

import numpy as np

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.extract.found import Found
from pipeline.extract.heads import (
    BLOCK_START,
    BLOCK_STOP,
    HEAD_SIZE,
    HOLDS,
    NOTHING,
    URL_START,
    URL_STOP,
    WAT_PAGE,
    read_one_head,
)
from pipeline.extract.inflate import (
    INNER,
    READING_MEMBER,
    STEPS,
    SUCCESS,
    Inflater,
    Rows,
    inflate,
    is_member,
)
from pipeline.extract.inflate import OFFSET as WATCHED_OFFSET
from pipeline.extract.marks import (
    LEAST_WAT_BYTES,
    OFFSET,
    PAGES,
    add_url,
    is_full,
    room_for,
)
from pipeline.extract.wat import Work, new_work, read_page

# What a kernel tells: how many records were about no page, the last record's offset, and the bytes
# of the record that there was no room for, 0 where it ended for another reason.
_NO_PAGES, _LAST, _NEEDED = range(3)


class WatRecords(NamedTuple):
    """Records that were read, one after the other. no_pages: how many of them are about no page;
    the others are in Found. last: offset of the last one. size: bytes of the file they took."""

    no_pages: int
    last: int
    size: int


class WatMembers:
    """Reads members into a Found. max_links: the most image links taken of one page."""

    def __init__(self, found: Found, max_links: int) -> None:
        self._found = found
        self._max_links = max_links
        # What the kernel writes to: it makes no array itself.
        sizes, needs, head = (np.zeros(n, np.int64) for n in (2, 6, HEAD_SIZE))
        self._scratch = sizes, head, needs, new_work()

    @property
    def is_free(self) -> bool:
        """Whether WAT records may be read: no pages in HTML wait."""
        return self._found.is_wat or not len(self._found)

    def read(
        self,
        inflater: Inflater,
        data: Bytes,
        at: int,
        last: int,
        offset: int,
        plain: Bytes,
        max_record_bytes: int,
        watch: Rows,
    ) -> WatRecords | None:
        """Read the members from data[at] on until Found is full; None when not even one was.

        Arguments as of `inflate_members`, but for offset, of data[at] in the file; plain is written
        over by each member. It ends before a member that is damaged, or does not hold just one
        record that is either about no page or a WAT record about one, as nearly all are written.
        """
        found = self._found
        found.is_wat = True
        told = np.zeros(3, np.int64)
        start, no_pages = at, 0
        while True:
            at += _read_members(
                inflater.function,
                inflater.handle,
                data,
                at,
                last,
                offset + at - start,
                plain,
                max_record_bytes,
                self._max_links,
                found.heap,
                found.scratch,
                found.links,
                found.captions,
                found.metas,
                found.pages,
                found.state,
                watch,
                told,
                *self._scratch,
            )
            no_pages += int(told[_NO_PAGES])
            needed = int(told[_NEEDED])
            if not needed:
                break
            found.reserve(1, needed, needed, needed, self._max_links)
        return WatRecords(no_pages, int(told[_LAST]), at - start) if at > start else None


@kernel
def _has_room(
    size: int,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
    needs: Rows,
) -> bool:
    """Whether there is room for whatever a page and its URL of `size` bytes together can give."""
    room_for(1, size, size, size, max_links, LEAST_WAT_BYTES, state, needs)
    return bool(
        needs[0] <= len(scratch)
        and needs[1] <= len(heap)
        and needs[2] <= len(links)
        and needs[3] <= len(captions)
        and needs[4] <= len(metas)
        and needs[5] <= len(pages)
    )


@kernel
def _read_members(
    function: int,
    handle: int,
    data: Bytes,
    at: int,
    last: int,
    offset: int,
    plain: Bytes,
    max_record_bytes: int,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
    watch: Rows,
    told: Rows,
    sizes: Rows,
    head: Rows,
    needs: Rows,
    work: Work,
) -> int:
    """What `WatMembers.read` does as long as there is room: the bytes of the members it took.

    sizes: int64 [2], head: int64 [HEAD_SIZE], needs: int64 [6], work: to be written to.
    """
    start = at
    told[_NO_PAGES], told[_NEEDED] = 0, 0
    while at <= last and at + 18 <= len(data) and is_member(data, at) and not is_full(state):
        record = offset + at - start
        watch[STEPS] += 1
        watch[WATCHED_OFFSET] = record
        watch[INNER] = READING_MEMBER
        if inflate(function, handle, data, signed(at), plain, signed(0), sizes) != SUCCESS:
            break
        if not read_one_head(plain, signed(0), sizes[1], max_record_bytes, head):
            break
        watch[INNER] = 0
        if head[HOLDS] == WAT_PAGE:
            size = sizes[1]
            if not _has_room(
                size, max_links, heap, scratch, links, captions, metas, pages, state, needs
            ):
                told[_NEEDED] = size
                break
            body, page = plain[head[BLOCK_START] : head[BLOCK_STOP]], signed(state[PAGES])
            if not read_page(
                body, max_links, heap, scratch, links, captions, metas, pages, state, work
            ):
                break
            add_url(plain, head[URL_START], head[URL_STOP], heap, pages, page, state)
            pages[page, OFFSET] = record
        elif head[HOLDS] == NOTHING:
            told[_NO_PAGES] += 1
        else:
            break
        told[_LAST] = record
        at += sizes[0]
    return at - start
