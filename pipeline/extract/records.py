"""WARC records of an archive, streamed; damage costs what is damaged and is counted.

A gzip archive is inflated member by member, so that a damaged one is told from its neighbours. A
record is believed only when what follows it shows that its length is right: otherwise reading goes
on at the next record behind its first bytes, wherever that may be.
"""

import re
from collections.abc import Collection, Iterator
from typing import IO

from pipeline.core.reasons import RecordReason
from pipeline.extract.heads import MAX_HEADER_BYTES
from pipeline.extract.inflate import Rows, new_watch
from pipeline.extract.members import Damaged, Place, open_members
from pipeline.extract.record import NO_HEAD, WANTED, Head, Record, read_head
from pipeline.extract.stretch import Stretch, read_stretches
from pipeline.extract.wat_members import WatMembers, WatRecords
from pipeline.extract.window import Window

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_START = Place(0, 0)


def read_records(
    file: IO[bytes],
    max_record_bytes: int,
    start: Place = _START,
    watch: Rows | None = None,
    skip: Collection[int] = (),
) -> Iterator[Record]:
    """What `read_many` gives, one by one."""
    for found in read_many(file, max_record_bytes, start, watch, skip):
        if isinstance(found, Record):
            yield found
        elif isinstance(found, Stretch):
            yield from found


def read_many(
    file: IO[bytes],
    max_record_bytes: int,
    start: Place = _START,
    watch: Rows | None = None,
    skip: Collection[int] = (),
    wat: WatMembers | None = None,
) -> Iterator[Stretch | WatRecords | Record]:
    """Every record of a gzip or plain WARC/WAT file, in order, and every damaged stretch.

    file: seekable; `read` gives what is asked for except at its end. start: the place of a record
    (or stretch) that an earlier reading gave, to begin with that one, by itself. watch: of
    `new_watch`; each member is noted in it before it is inflated. skip: offsets of members to pass
    over; each is counted as CRASHED. wat: reads WAT records that are written as nearly all are.
    Memory: a few times `max_record_bytes`; larger records are passed over without being held.
    Raises OSError only when the file itself cannot be read, never for what it holds.
    """
    watch = new_watch() if watch is None else watch
    members = open_members(file, watch, skip)
    window = Window(members)
    place = start
    while True:
        if members.is_gzip and place.inner == 0:
            offset = yield from read_stretches(
                file, place.offset, max_record_bytes, watch, skip, wat
            )
            place = Place(offset, 0)
        window.open(place)
        while True:
            try:
                if not window.to_something():
                    if not window.advance():
                        return
                    if members.is_gzip:
                        break
                    continue
            except Damaged as damage:
                place = window.place
                yield Record("", place.offset, None, "", b"", window.leave(damage), place.inner)
                continue
            yield _read(window, max_record_bytes)
        place = Place(window.offset, 0)


def _read(window: Window, max_record_bytes: int) -> Record:
    """The record, or the stretch of damage, that data[at] starts; the window moves behind it."""
    offset, inner = place = window.place
    head, block = NO_HEAD, b""
    reason: RecordReason | None
    try:
        if not window.data.startswith(b"WARC/", window.at):
            reason = _pass_junk(window)
        elif (head := _head(window)).length is None:
            reason = _give_up(window)
        elif head.length > max_record_bytes:
            reason = _pass_over(window, place, head.size + head.length)
        else:
            size = head.size + head.length
            if window.has(size) and window.is_end_of_record(size):
                reason = None
                stop = window.at + size
                if head.kind in WANTED:
                    block = window.data[stop - head.length : stop]
                window.at = stop
            else:
                reason = _give_up(window)
    except Damaged as damage:
        reason = window.leave(damage)
    return Record(head.kind, offset, head.url, head.content_type, block, reason, inner)


def _pass_junk(window: Window) -> RecordReason:
    is_cut_start = b"WARC/".startswith(window.data[window.at : window.at + 5])
    found = window.to_record()
    return RecordReason.TRUNCATED if is_cut_start and not found else RecordReason.CORRUPT


def _give_up(window: Window) -> RecordReason:
    """Pass over the record at data[at], whose length is unknown or wrong. What no record follows is
    held to be cut."""
    window.at += 5
    return RecordReason.CORRUPT if window.to_record() else RecordReason.TRUNCATED


def _pass_over(window: Window, place: Place, size: int) -> RecordReason:
    """Pass over a large record without holding it."""
    left = size
    while len(window.data) - window.at < left:
        left -= len(window.data) - window.at
        window.at = len(window.data)
        if not window.more():
            break
    else:
        window.at += left
        if window.is_end_of_record(0):
            return RecordReason.TOO_LARGE
    # It is not so large at all: look for the next record from its start.
    window.open(place)
    window.has(5)
    return _give_up(window)


def _head(window: Window) -> Head:
    """The header at data[at]. Raises Damaged."""
    while True:
        data, at = window.data, window.at
        limit = at + MAX_HEADER_BYTES
        line_end = data.find(b"\n", at, limit)
        if data[line_end - 1] == 13:  # CR
            end = data.find(b"\r\n\r\n", line_end - 1, limit)
            if end >= 0:
                return read_head(data[at:end], end + 4 - at)
        elif line_end >= 0 and (found := _HEADER_END.search(data, line_end, limit)):
            return read_head(data[at : found.start()], found.end() - at)
        if len(data) > limit or not window.more():
            return NO_HEAD
