"""Records many at once, from members that hold just one each, as nearly all do."""

from collections.abc import Collection, Generator, Iterator
from typing import IO

import numpy as np

from pipeline.core.strings import Bytes
from pipeline.extract.heads import (
    BLOCK_START,
    BLOCK_STOP,
    CONTENT_TYPE,
    CONTENT_TYPES,
    HOLDS,
    KIND,
    KINDS,
    UNKNOWN,
    URL_START,
    URL_STOP,
    read_heads,
)
from pipeline.extract.inflate import (
    MEMBER_BYTES,
    MEMBER_OFFSET,
    PLAIN_START,
    Inflater,
    Rows,
    inflate_members,
)
from pipeline.extract.record import WANTED, Record, decode_url, read_head

# Read from the file at once, and how much of it at least is there for a member to be begun.
_BLOCK_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 18
# Of members that are inflated before the first of their records is given: what fits a cache.
_STRETCH, _STRETCH_BYTES = 64, 1 << 18
_MAX_MEMBER_BYTES = 4 << 20


class Stretch:
    """Records that follow one another, none of them damaged. Good until the next one is asked for.

    holds: what each may hold, of `heads`. offsets: of their members in the file, rising.
    """

    def __init__(self, plain: memoryview, offsets: list[int], found: Rows) -> None:
        self._plain = plain
        self.offsets = offsets
        self._found = found.tolist()

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(len(self)))

    def holds(self) -> list[int]:
        """What each record holds: NOTHING, PERHAPS or WAT_PAGE."""
        return [row[HOLDS] for row in self._found]

    def url(self, row: int) -> str:
        """The URL of a record."""
        found = self._found[row]
        return decode_url(bytes(self._plain[found[URL_START] : found[URL_STOP]]))

    def block(self, row: int) -> memoryview:
        """The content of a record."""
        found = self._found[row]
        return self._plain[found[BLOCK_START] : found[BLOCK_STOP]]

    def record(self, row: int) -> Record:
        """One of the records."""
        kind = KINDS[self._found[row][KIND]]
        content_type = CONTENT_TYPES[self._found[row][CONTENT_TYPE]]
        block = bytes(self.block(row)) if kind in WANTED else b""
        return Record(kind, self.offsets[row], self.url(row), content_type, block, None)


def read_stretches(
    file: IO[bytes],
    offset: int,
    max_record_bytes: int,
    watch: Rows,
    skip: Collection[int],
) -> Generator[Stretch | Record, None, int]:
    """The records of members that hold just one each, from the member at `offset` on; the offset of
    the first one that is another, damaged, large, to be skipped, or the end of the file.

    What this gives the careful reading of `records` gives too, in more time. The first stretch is
    of one record. Memory: 1 MiB of the file and 4 MiB of content. watch: of `inflate`.
    """
    file.seek(offset)
    inflater = Inflater()
    plain = np.empty(_STRETCH_BYTES + _MAX_MEMBER_BYTES, np.uint8)
    view = memoryview(plain)  # type: ignore[arg-type]
    members = np.empty((_STRETCH, 4), np.int64)
    data, at, last, most = b"", 0, -1, 1
    while True:
        if at > last:
            rest = data[at:]
            block = file.read(_BLOCK_BYTES)
            data, at = rest + block, 0
            last = len(data) - (_AHEAD_BYTES if block else 0)
            if last < 0 and block:
                continue
        # Before the next member that is skipped.
        stop = min((s - offset + at for s in skip if s >= offset), default=len(data)) - 1
        count = inflate_members(
            inflater.function,
            inflater.handle,
            np.frombuffer(data, np.uint8),
            at,
            min(last, stop),
            offset - at,
            plain,
            _STRETCH_BYTES,
            members[:most],
            watch,
        )
        if not count:
            return offset
        whole = yield from _records(plain, view, members[:count], max_record_bytes)
        if whole < count:
            return int(members[whole, MEMBER_OFFSET])
        end = int(members[count - 1, MEMBER_OFFSET] + members[count - 1, MEMBER_BYTES])
        at, offset = at + end - offset, end
        # Few at first: what is behind a record that goes the other way is inflated again.
        most = min(2 * most, _STRETCH)


def _records(
    plain: Bytes, view: memoryview, members: Rows, max_record_bytes: int
) -> Generator[Stretch | Record, None, int]:
    """The records of members, how many of which hold just one each."""
    found = np.empty((len(members), 7), np.int64)
    whole = read_heads(plain, members, max_record_bytes, found)
    offsets = members[:whole, MEMBER_OFFSET].tolist()
    first = 0
    for row in np.flatnonzero(found[:whole, HOLDS] == UNKNOWN).tolist():
        if first < row:
            yield Stretch(view, offsets[first:row], found[first:row])
        start, block = int(members[row, PLAIN_START]), int(found[row, BLOCK_START])
        block_stop = int(found[row, BLOCK_STOP])
        head = read_head(bytes(view[start : block - 4]), block - start)
        if head.length != block_stop - block or head.length > max_record_bytes:
            return row
        content = bytes(view[block:block_stop]) if head.kind in WANTED else b""
        yield Record(head.kind, offsets[row], head.url, head.content_type, content, None)
        first = row + 1
    if first < whole:
        yield Stretch(view, offsets[first:], found[first:whole])
    return whole
