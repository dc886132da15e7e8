"""Single records of an archive by offset and length, neighbours read together."""

import io
from collections.abc import Collection, Iterator, Sequence
from typing import IO

from pipeline.core.reasons import RecordReason
from pipeline.extract.inflate import READING_MEMBER, Rows, note
from pipeline.extract.record import Record
from pipeline.extract.records import read_records

_MAX_BLOCK_BYTES = 16 << 20


def read_ranges(
    file: IO[bytes],
    ranges: Sequence[tuple[int, int]],
    max_record_bytes: int,
    max_gap_bytes: int,
    watch: Rows | None = None,
    skip: Collection[int] = (),
) -> Iterator[Record]:
    """One record for each range, in order; what is none is told as damage.

    ranges: (offset, length) in bytes, by rising offset; each a gzip member, or a record of a plain
    archive. Gaps below `max_gap_bytes` are read and dropped, as that is cheaper than a request.
    watch, skip: as of `read_records`. Memory: 16 MiB or one range; a range of more than
    `max_record_bytes` is not read.
    """
    for start, stop, block in _blocks(ranges, max_record_bytes, max_gap_bytes):
        file.seek(start)
        data = file.read(stop - start)
        for offset, length in block:
            if offset in skip:
                yield Record("", offset, None, "", b"", RecordReason.CRASHED)
                continue
            if watch is not None:
                note(watch, offset, READING_MEMBER)
            if not 0 < length <= max_record_bytes:
                reason = RecordReason.TOO_LARGE if length > 0 else RecordReason.CORRUPT
                yield Record("", offset, None, "", b"", reason)
                continue
            part = data[offset - start : offset - start + length]
            found = next(read_records(io.BytesIO(part), max_record_bytes), None)
            if found is None or found.offset or found.inner:
                reason = RecordReason.CORRUPT if part else RecordReason.TRUNCATED
                found = Record("", offset, None, "", b"", reason)
            yield found._replace(offset=offset)


def _blocks(
    ranges: Sequence[tuple[int, int]], max_record_bytes: int, max_gap_bytes: int
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(start, stop, ranges) of what is read at once."""
    start = stop = 0
    block: list[tuple[int, int]] = []
    for offset, length in ranges:
        end = offset + length if 0 < length <= max_record_bytes else offset
        if block and (offset - stop > max_gap_bytes or end - start > _MAX_BLOCK_BYTES):
            yield start, stop, block
            block = []
        if not block:
            start = stop = offset
        block.append((offset, length))
        stop = max(stop, end)
    if block:
        yield start, stop, block
