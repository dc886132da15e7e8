"""WARC records of an archive, streamed; a damaged gzip member costs itself and is counted.

FastWARC ends at the first corrupt member with OSError and ends silently at a cut one. Here the
walk goes on at the next member that holds a record, and the end of the file is looked at.
"""

import re
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from pipeline.core.reasons import RecordReason

GZIP_MAGIC = b"\x1f\x8b\x08"
_PLAIN_START = re.compile(rb"(?<=\n)WARC/[01]\.[0-9]+\r?\n")
_SCAN_BYTES = 1 << 20
_PROBE_BYTES = 4096
_WANTED = WarcRecordType.response | WarcRecordType.metadata | WarcRecordType.resource


class Record(NamedTuple):
    """One WARC record, or one stretch of the archive that cannot be read.

    kind: WARC-Type; "" for damage. offset: of the record in the archive file, in bytes.
    url: WARC-Target-URI. content_type: of the block. block: the record's content; empty when
    `reason` says why it was not read, or the kind is none that can hold a page.
    """

    kind: str
    offset: int
    url: str | None
    content_type: str
    block: bytes
    reason: RecordReason | None


class _Tap:
    """The archive as FastWARC reads it; tells a failing disk or network from failing data."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: Exception | None = None
        self.is_at_end = False

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.file.read(size)
        except Exception as error:
            self.error = error
            raise
        self.is_at_end = not data
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        """The caller closes the file."""


def read_records(file: IO[bytes], max_record_bytes: int) -> Iterator[Record]:
    """Every record of a gzip or plain WARC/WAT file, in order, and every damaged stretch.

    file: seekable. Memory: one record of at most `max_record_bytes`; larger ones are passed over
    unread. Raises OSError only when the file itself cannot be read, never for what it holds.
    """
    is_gzip = file.read(5) != b"WARC/"  # a damaged first member is gzip all the same
    is_lenient = _has_bare_newlines(file, is_gzip)
    start = 0
    is_resumed = False
    while True:
        file.seek(start)
        tap = _Tap(file)
        last: Record | None = None
        is_broken = False
        records = iter(ArchiveIterator(tap, parse_http=False, quirks_mode=is_lenient))
        while True:
            try:
                record = next(records)
                last = _read(record, max_record_bytes, tap)
            except StopIteration:
                break
            except (OSError, ValueError, MemoryError) as error:
                if tap.error is not None:
                    raise OSError(f"cannot read on: {tap.error}") from error
                is_broken = True
                break
            yield last
        bad = _end_of(file, last, is_gzip) if last else start
        if not is_broken:
            if last is None or last.reason is not RecordReason.TRUNCATED:
                rest = _past_empty_members(file, bad) if is_gzip else bad
                if rest > bad:  # FastWARC ends at a member that holds nothing
                    start, is_resumed = rest, True
                    continue
                yield from _tail(file, bad, is_gzip)
            return
        if is_gzip or not is_resumed or last:
            yield Record("", bad, None, "", b"", RecordReason.CORRUPT)
        found = _next_record(file, bad + 1, is_gzip)
        if found is None:
            return
        start, is_resumed = found, True


def _has_bare_newlines(file: IO[bytes], is_gzip: bool) -> bool:
    """True when the first header line ends in LF alone, as in archives that went through a text
    tool. FastWARC reads them in its quirks mode only, which passes over some damage in others."""
    file.seek(0)
    start = file.read(_PROBE_BYTES)
    if is_gzip:
        try:
            start = zlib.decompressobj(31).decompress(start, _PROBE_BYTES)
        except zlib.error:
            return False
    line, newline, _ = start.partition(b"\n")
    return bool(newline) and line.startswith(b"WARC/") and not line.endswith(b"\r")


def _read(record: WarcRecord, max_record_bytes: int, tap: _Tap) -> Record:
    kind = str(record.record_type)
    headers = record.headers
    reason: RecordReason | None = None
    block = b""
    if record.content_length > max_record_bytes:
        reason = RecordReason.TOO_LARGE
    elif headers.get("Content-Length") is None:
        # A header that ends early, with the file or before it.
        reason = RecordReason.TRUNCATED if tap.is_at_end else RecordReason.CORRUPT
    elif record.record_type & _WANTED:
        block = record.reader.read()
        if len(block) < record.content_length:
            reason, block = RecordReason.TRUNCATED, b""
    url = headers.get("WARC-Target-URI")
    content_type = (headers.get("Content-Type") or "").lower()
    return Record(kind, record.stream_pos, url, content_type, block, reason)


def _end_of(file: IO[bytes], record: Record, is_gzip: bool) -> int:
    """Where the record's member (or, in a plain file, its header) ends: damage starts there."""
    file.seek(record.offset)
    if not is_gzip:
        head = file.read(_PROBE_BYTES * 16)
        end = re.search(rb"\r?\n\r?\n", head)
        length = re.search(
            rb"(?i)\ncontent-length:\s*([0-9]{1,15})", head[: end.end()] if end else b""
        )
        return record.offset + (end.end() if end else 0) + (int(length[1]) if length else 0)
    member = zlib.decompressobj(31)
    at = record.offset
    while chunk := file.read(_SCAN_BYTES):
        data = chunk
        while data:
            try:
                member.decompress(data, _SCAN_BYTES)
            except zlib.error:
                return record.offset
            if member.eof:
                return at + len(chunk) - len(member.unused_data)
            data = member.unconsumed_tail
        at += len(chunk)
    return at


def _past_empty_members(file: IO[bytes], start: int) -> int:
    """Where the first member at or after `start` begins that holds something or cannot be read."""
    while True:
        file.seek(start)
        head = file.read(_PROBE_BYTES)
        member = zlib.decompressobj(31)
        try:
            if member.decompress(head, 1) or not member.eof:
                return start
        except zlib.error:
            return start
        start += len(head) - len(member.unused_data)


def _tail(file: IO[bytes], end: int, is_gzip: bool) -> Iterator[Record]:
    """A record cut so short at the end of a gzip archive that FastWARC saw nothing of it."""
    if is_gzip:
        file.seek(end)
        if file.read(_PROBE_BYTES).strip(b"\0"):
            yield Record("", end, None, "", b"", RecordReason.TRUNCATED)


def _next_record(file: IO[bytes], start: int, is_gzip: bool) -> int | None:
    """The offset of the first record at or after `start`, by its magic; None when there is none.

    Memory: two scan blocks.
    """
    file.seek(start)
    window, at = b"", start
    while chunk := file.read(_SCAN_BYTES):
        window += chunk
        for found in _candidates(window, is_gzip):
            is_whole = len(window) - found >= _PROBE_BYTES
            if is_whole and (not is_gzip or _is_member(window[found : found + _PROBE_BYTES])):
                return at + found
        kept = min(len(window), _PROBE_BYTES + 1)
        at += len(window) - kept
        window = window[-kept:]
    for found in _candidates(window, is_gzip):
        if not is_gzip or _is_member(window[found:]):
            return at + found
    return None


def _candidates(window: bytes, is_gzip: bool) -> Iterator[int]:
    if not is_gzip:
        yield from (found.start() for found in _PLAIN_START.finditer(window))
        return
    at = window.find(GZIP_MAGIC)
    while at >= 0:
        yield at
        at = window.find(GZIP_MAGIC, at + 1)


def _is_member(data: bytes) -> bool:
    """True when the bytes start a gzip member that holds a WARC record."""
    try:
        return zlib.decompressobj(31).decompress(data, 5) == b"WARC/"
    except zlib.error:
        return False
