"""WARC records of an archive, streamed; damage costs what is damaged and is counted.

A gzip archive is inflated member by member, so that a damaged one is told from its neighbours. A
record is believed only when what follows it shows that its length is right: otherwise reading goes
on at the next record behind its first bytes, wherever that may be.
"""

import re
from collections.abc import Callable, Container, Generator, Iterator
from typing import IO, NamedTuple

from pipeline.core.reasons import RecordReason
from pipeline.extract.heads import CONTENT_TYPES, KINDS, read_heads
from pipeline.extract.members import (
    RECORD_START,
    Damaged,
    Place,
    inflate_member,
    open_members,
)
from pipeline.extract.window import Window

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_EMPTY_LINE = b"\r\n\r\n"
_FOLD = re.compile(rb"\r?\n[ \t]+")
# Headers of real archives are of some 500 bytes; a data: URL may be of some 100 KB.
_MAX_HEADER_BYTES = 1 << 20
# Read at once, and how much of it at least is there for a member to be looked at.
_BLOCK_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 18
# Of members that are inflated before the first of their records is given.
_STRETCH, _STRETCH_BYTES = 64, 1 << 18
_WANTED = frozenset({"response", "metadata", "resource"})
_START = Place(0, 0)


class Record(NamedTuple):
    """One WARC record, or one stretch of the archive that cannot be read.

    kind: WARC-Type; "" for damage. offset: of the record (its gzip member) in the archive file, in
    bytes. url: WARC-Target-URI. content_type: of the block. block: the record's content; empty when
    `reason` says why it was not read, or the kind is none that can hold a page. inner: bytes into
    the member's plain content; (offset, inner) is another one for every record of an archive.
    """

    kind: str
    offset: int
    url: str | None
    content_type: str
    block: bytes
    reason: RecordReason | None
    inner: int = 0


class _Head(NamedTuple):
    """What counts of a record's header. size: in bytes, with the empty line that ends it. length:
    of the block; None when it is not told."""

    size: int
    kind: str
    length: int | None
    url: str | None
    content_type: str


_NO_HEAD = _Head(0, "", None, None, "")


def read_records(
    file: IO[bytes],
    max_record_bytes: int,
    start: Place = _START,
    watch: Callable[[int], None] | None = None,
    skip: Container[int] = (),
) -> Iterator[Record]:
    """Every record of a gzip or plain WARC/WAT file, in order, and every damaged stretch.

    file: seekable; `read` gives what is asked for except at its end. start: the place of a record
    (or stretch) that an earlier reading gave, to begin with that one. watch: called with the offset
    of each member before it is inflated. skip: offsets of members to pass over; each is counted as
    CRASHED. Memory: a few times `max_record_bytes`; larger records are passed over without being
    held. Raises OSError only when the file itself cannot be read, never for what it holds.
    """
    members = open_members(file, watch, skip)
    window = Window(members)
    place = start
    while True:
        if members.is_gzip and place.inner == 0:
            offset = yield from _read_plainly(file, place.offset, max_record_bytes, watch, skip)
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


def _read_plainly(
    file: IO[bytes],
    offset: int,
    max_record_bytes: int,
    watch: Callable[[int], None] | None,
    skip: Container[int],
) -> Generator[Record, None, int]:
    """The records of members that hold just one each, as nearly all do, from the member at `offset`
    on; where the first member begins that is another one, damaged, or the end of the file.

    What this yields `_read` would yield too, in twice the time. Headers are looked at many at once.
    """
    file.seek(offset)
    data, at, is_plain, most = b"", 0, True, 1
    while is_plain:
        members: list[tuple[int, bytes, int]] = []  # offset, content, where its header ends
        left = _STRETCH_BYTES
        while left > 0 and len(members) < most:
            if len(data) - at < _AHEAD_BYTES:
                data, at = data[at:] + file.read(_BLOCK_BYTES), 0
            if skip and offset in skip:
                is_plain = False
                break
            if watch is not None:
                watch(offset)
            plain, size = inflate_member(data, at)
            end = plain.find(_EMPTY_LINE, 0, _MAX_HEADER_BYTES)
            if end < 0 or not (plain.startswith(b"WARC/") and plain.endswith(_EMPTY_LINE)):
                is_plain = False
                break
            members.append((offset, plain, end))
            left -= len(plain)
            at += size
            offset += size
        # Few at first: what is behind a record that goes the other way is inflated again.
        most = min(2 * most, _STRETCH)
        joined, heads = read_heads([plain[:end] for _, plain, end in members])
        for head, (place, plain, end) in zip(heads, members, strict=True):
            length, kind_at, type_at, start, stop = head
            if length >= 0:
                kind, content_type = KINDS[kind_at], CONTENT_TYPES[type_at]
                url: str | None = _url(joined[start:stop])
            else:
                _, kind, told, url, content_type = _fields(plain[:end], end + 4)
                length = -1 if told is None else told
            if length + end + 8 != len(plain) or not 0 <= length <= max_record_bytes:
                return place
            block = plain[end + 4 : -4] if kind in _WANTED else b""
            yield Record(kind, place, url, content_type, block, None)
    return offset


def _read(window: Window, max_record_bytes: int) -> Record:
    """The record, or the stretch of damage, that data[at] starts; the window moves behind it."""
    offset, inner = place = window.place
    head, block = _NO_HEAD, b""
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
                if head.kind in _WANTED:
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


def _head(window: Window) -> _Head:
    """The header at data[at]. Raises Damaged."""
    while True:
        data, at = window.data, window.at
        limit = at + _MAX_HEADER_BYTES
        line_end = data.find(b"\n", at, limit)
        if data[line_end - 1] == 13:  # CR
            end = data.find(b"\r\n\r\n", line_end - 1, limit)
            if end >= 0:
                return _fields(data[at:end], end + 4 - at)
        elif line_end >= 0 and (found := _HEADER_END.search(data, line_end, limit)):
            return _fields(data[at : found.start()], found.end() - at)
        if len(data) > limit or not window.more():
            return _NO_HEAD


def _fields(head: bytes, size: int) -> _Head:
    if head.find(b"WARC/", 5) > 0 and RECORD_START.search(head, 5):
        return _NO_HEAD  # it was cut, and another record's header follows
    # As nearly every archive spells them; the others are looked for without regard to case.
    length = _value(head, b"\nContent-Length: ")
    kind = _value(head, b"\nWARC-Type: ")
    url = _value(head, b"\nWARC-Target-URI: ")
    content_type = _value(head, b"\nContent-Type: ")
    if length is None or kind is None or url is None or content_type is None:
        others: dict[bytes, bytes] = {}
        for line in _FOLD.sub(b" ", head).split(b"\n")[1:]:
            name, _, value = line.partition(b":")
            others.setdefault(name.strip().lower(), value.strip())
        length = others.get(b"content-length") if length is None else length
        kind = others.get(b"warc-type", b"unknown") if kind is None else kind
        url = others.get(b"warc-target-uri") if url is None else url
        content_type = others.get(b"content-type", b"") if content_type is None else content_type
    return _Head(
        size,
        kind.decode("latin-1").lower() or "unknown",
        int(length) if length and length.isdigit() and len(length) < 16 else None,
        None if url is None else _url(url),
        content_type.decode("latin-1").lower(),
    )


def _url(field: bytes) -> str:
    # Source: WARC 1.1, section 5.10: earlier writers put the URI in angle brackets.
    return field.strip(b"<>").decode("utf-8", "replace")


def _value(head: bytes, name: bytes) -> bytes | None:
    at = head.find(name)
    if at < 0:
        return None
    at += len(name)
    end = head.find(b"\n", at)
    if end < 0:
        return head[at:].strip()
    is_folded = head.startswith((b" ", b"\t"), end + 1)
    return None if is_folded else head[at:end].strip()
