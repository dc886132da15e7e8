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
    HEAD_SIZE,
    HOLDS,
    KIND,
    KINDS,
    NOTHING,
    UNKNOWN,
    URL_START,
    URL_STOP,
    WAT_PAGE,
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
from pipeline.extract.wat_members import WatMembers, WatRecords

# Read from the file at once, and how much of it at least is there for a member to be begun.
_BLOCK_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 18
# Of members that are inflated before the first of their records is given: what fits a cache.
_STRETCH, _STRETCH_BYTES = 64, 1 << 18
_MAX_MEMBER_BYTES = 4 << 20


class Stretch:
    """Records that follow one another, none of them damaged. Good until the next one is asked for.

    offsets: int64, of their members in the file, rising. holds: int64, what each holds: NOTHING,
    PERHAPS or WAT_PAGE of `heads`.
    """

    def __init__(self, plain: Bytes, offsets: Rows, found: Rows) -> None:
        self._plain = plain
        self.offsets = offsets
        self._found = found

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(len(self)))

    @property
    def holds(self) -> Rows:
        return self._found[:, HOLDS]

    def record(self, row: int) -> Record:
        """One of the records."""
        found = self._found[row].tolist()
        kind = KINDS[found[KIND]]
        content_type = CONTENT_TYPES[found[CONTENT_TYPE]]
        url = None
        if found[URL_START] >= 0:
            url = decode_url(self._plain[found[URL_START] : found[URL_STOP]].tobytes())
        is_wanted = kind in WANTED
        block = self._plain[found[BLOCK_START] : found[BLOCK_STOP]].tobytes() if is_wanted else b""
        return Record(kind, int(self.offsets[row]), url, content_type, block, None)


def read_stretches(
    file: IO[bytes],
    offset: int,
    max_record_bytes: int,
    watch: Rows,
    skip: Collection[int],
    wat: WatMembers | None = None,
) -> Generator[Stretch | WatRecords | Record, None, int]:
    """The records of members that hold just one each, from the member at `offset` on; the offset of
    the first one that is another, damaged, large, to be skipped, or the end of the file.

    What this gives the careful reading of `records` gives too, in more time. The first stretch is
    of one record. Memory: 1 MiB of the file and 4 MiB of content. watch: of `inflate`. wat: reads
    WAT records, where they follow one another, in place of this.
    """
    file.seek(offset)
    inflater = Inflater()
    plain = np.empty(_STRETCH_BYTES + _MAX_MEMBER_BYTES, np.uint8)
    members = np.empty((_STRETCH, 4), np.int64)
    # What is left is less than _AHEAD_BYTES when more is read.
    data, size = np.empty(_AHEAD_BYTES + _BLOCK_BYTES, np.uint8), 0
    at, last, most = 0, -1, 1
    is_wat = False
    while True:
        if at > last:
            block = file.read(_BLOCK_BYTES)
            rest, stop = size - at, size - at + len(block)
            data[:rest] = data[at:size]
            data[rest:stop] = np.frombuffer(block, np.uint8)
            at, size = 0, stop
            last = size - (_AHEAD_BYTES if block else 0)
            if last < 0 and block:
                continue
        # Before the next member that is skipped.
        stop = min((s - offset + at for s in skip if s >= offset), default=size) - 1
        given = data[:size], at, min(last, stop), offset - at
        if wat is not None and is_wat and wat.is_free:
            read = wat.read(inflater, *given[:3], offset, plain, max_record_bytes, watch)
            if read is not None:
                yield read
                at, offset = at + read.size, offset + read.size
                continue
            most = 1
        count = inflate_members(
            inflater.function,
            inflater.handle,
            *given,
            plain,
            _STRETCH_BYTES,
            members[:most],
            watch,
        )
        if not count:
            return offset
        whole, is_wat = yield from _records(plain, members[:count], max_record_bytes)
        if whole < count:
            return int(members[whole, MEMBER_OFFSET])
        end = int(members[count - 1, MEMBER_OFFSET] + members[count - 1, MEMBER_BYTES])
        at, offset = at + end - offset, end
        # Few at first: what is behind a record that goes the other way is inflated again.
        most = min(2 * most, _STRETCH)


def _records(
    plain: Bytes, members: Rows, max_record_bytes: int
) -> Generator[Stretch | Record, None, tuple[int, bool]]:
    """The records of members: how many of these hold just one each, and whether they are WAT
    records, some about pages."""
    found = np.empty((len(members), HEAD_SIZE), np.int64)
    whole = read_heads(plain, members, max_record_bytes, found)
    offsets = members[:whole, MEMBER_OFFSET].copy()
    holds = set(found[:whole, HOLDS].tolist())
    first = 0
    for row in np.flatnonzero(found[:whole, HOLDS] == UNKNOWN).tolist():
        if first < row:
            yield Stretch(plain, offsets[first:row], found[first:row])
        start, block = int(members[row, PLAIN_START]), int(found[row, BLOCK_START])
        block_stop = int(found[row, BLOCK_STOP])
        head = read_head(plain[start : block - 4].tobytes(), block - start)
        if head.length != block_stop - block or head.length > max_record_bytes:
            return row, False
        content = plain[block:block_stop].tobytes() if head.kind in WANTED else b""
        yield Record(head.kind, int(offsets[row]), head.url, head.content_type, content, None)
        first = row + 1
    if first < whole:
        yield Stretch(plain, offsets[first:], found[first:whole])
    return whole, WAT_PAGE in holds and holds <= {NOTHING, WAT_PAGE}
