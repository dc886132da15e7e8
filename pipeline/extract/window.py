"""A window on an archive's plain bytes that moves forwards and knows where in the file it is."""

import re

from pipeline.core.reasons import RecordReason
from pipeline.extract.members import Damaged, GzipFile, Place, PlainFile
from pipeline.extract.record import RECORD_START

_NEWLINES = re.compile(rb"[\r\n]*")
_MAGIC = b"WARC/"
_END = b"\r\n\r\n"
# Longer than what RECORD_START matches.
_KEPT_BYTES = 128
# That many newlines behind a record are looked through for the next one.
_MAX_NEWLINES = 64 << 10


class Window:
    """data[at:] is what comes next.

    Where a member starts with a record, the window stops before it, and `_ahead` holds its first
    bytes, or what keeps it from being read. Members that start otherwise go on with what the one
    before them held: `_members` has (where it starts, its offset in the file) of all that the
    window has something of, on the scale on which data[0] lies at `_base`.
    """

    def __init__(self, source: PlainFile | GzipFile) -> None:
        self._source = source
        self._reset()

    def _reset(self) -> None:
        self.data = b""
        self.at = 0
        self._base = 0 if self._source.is_gzip else self._source.offset
        self._members = [(0, self._source.offset)]
        self._ahead: bytes | Damaged | None = None
        self._failed: Damaged | None = None
        self._is_end = False

    @property
    def place(self) -> Place:
        """Where data[at] lies."""
        position = self._base + self.at
        if not self._source.is_gzip:
            return Place(position, 0)
        start, offset = self._members[-1]
        if position < start:
            start, offset = next(m for m in reversed(self._members) if m[0] <= position)
        return Place(offset, position - start)

    def open(self, place: Place) -> None:
        """Move to a place. Raises Damaged when its member cannot be read so far."""
        ahead: Damaged | None = None
        is_end = False
        try:
            is_end = not self._source.open(place.offset)
        except Damaged as damage:
            ahead = damage
        self._reset()
        self._ahead, self._is_end = ahead, is_end
        left = place.inner
        while left > 0 and (self.at < len(self.data) or self.more()):
            step = min(left, len(self.data) - self.at)
            self.at += step
            left -= step

    def more(self) -> bool:
        """Append about as much again as the window holds; False where the next member starts with a
        record or cannot be read, and at the end. Raises Damaged when the present member cannot be
        read on."""
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed
        if self._ahead is not None or self._is_end:
            return False
        rest = self.data[self.at :]
        parts, got = [rest], 0
        try:
            while got <= len(rest) and (chunk := self._source.inflate()):
                parts.append(chunk)
                got += len(chunk)
        except Damaged as damage:
            if not got:
                raise
            self._failed = damage
        if not got:
            return self._cross(rest)
        self._base += self.at
        self.data, self.at = b"".join(parts), 0
        return True

    def _cross(self, rest: bytes) -> bool:
        self._look_ahead()
        chunk = self._ahead
        if not isinstance(chunk, bytes) or chunk.startswith(_MAGIC):
            return False
        self._ahead = None
        self._base += self.at
        while len(self._members) > 1 and self._members[1][0] <= self._base:
            del self._members[0]
        self._members.append((self._base + len(rest), self._source.offset))
        self.data, self.at = rest + chunk, 0
        return True

    def _look_ahead(self) -> None:
        """Start on the next member that holds something."""
        head = b""
        try:
            while not head:
                if not self._source.next():
                    self._is_end = True
                    return
                while len(head) < len(_MAGIC) and (chunk := self._source.inflate()):
                    head += chunk
            self._ahead = head
        except Damaged as damage:
            self._ahead = damage

    def advance(self) -> bool:
        """Move to the member ahead; False at the end. Raises Damaged."""
        ahead = self._ahead
        self._ahead = None
        self.at = self._base = 0
        self._members = [(0, self._source.offset)]
        if isinstance(ahead, bytes):
            self.data = ahead
            return True
        self.data = b""
        if ahead is not None:
            raise ahead
        return False

    @property
    def offset(self) -> int:
        """Where the member that `is_fresh` begins in the file."""
        return self._source.offset

    @property
    def is_fresh(self) -> bool:
        """True at the start of a member, of which nothing is taken yet."""
        return self.at == 0 and len(self._members) == 1 and self._members[0][0] == 0

    def is_all(self, size: int) -> bool:
        """True when a record of `size` bytes at data[at] is all the member holds, with the empty
        lines that end it."""
        is_end = self.at + size + 4 == len(self.data) and self._source.is_done
        return is_end and self.data.endswith(_END)

    def to_something(self) -> bool:
        """Pass over newlines; False when nothing follows before the member ahead. At least five
        bytes follow if there are so many. Raises Damaged."""
        while not self.data.startswith(_MAGIC, self.at):
            match = _NEWLINES.match(self.data, self.at)
            assert match is not None
            self.at = match.end()
            if len(self.data) - self.at >= len(_MAGIC):
                return True
            if not self.more():
                return self.at < len(self.data)
        return True

    def to_record(self) -> bool:
        """Move to the next record's start behind data[at], or before the member ahead; False when
        neither is there. Raises Damaged. Memory: what the window holds already."""
        while True:
            if found := RECORD_START.search(self.data, self.at):
                self.at = found.start()
                return True
            self.at = max(self.at, len(self.data) - _KEPT_BYTES)
            if not self.more():
                self.at = len(self.data)
                return self._ahead is not None

    def has(self, size: int) -> bool:
        """True when data[at:at + size] is there, or can be had. Raises Damaged."""
        while len(self.data) - self.at < size:
            if not self.more():
                return False
        return True

    def is_end_of_record(self, size: int) -> bool:
        """Whether a record may end at data[at + size]: an empty line, another record or the
        member's end follows, and where that is not as it should be, no record starts inside.
        Raises Damaged."""
        if self.is_all(size):
            return True
        while True:
            stop = self.at + size
            match = _NEWLINES.match(self.data, stop)
            assert match is not None
            after = match.end()
            if len(self.data) - after >= len(_MAGIC) or after - stop > _MAX_NEWLINES:
                break
            if not self.more():
                break
        data = self.data
        is_followed = after == len(data) or data.startswith(_MAGIC, after)
        if is_followed and after == stop + 4 and data.startswith(_END, stop):
            return True
        is_end = is_followed or data.startswith((_END, b"\n\n"), stop)
        return is_end and not RECORD_START.search(data, self.at + len(_MAGIC), stop)

    def leave(self, damage: Damaged) -> RecordReason:
        """Give up the member that is damaged and move to the next one with a record; the reason to
        count. A cut that records follow is damage that ran through them."""
        found = self._source.find(self._source.offset + 1)
        self._reset()
        self._is_end = not found
        if damage.is_skipped:
            return RecordReason.CRASHED
        return RecordReason.TRUNCATED if damage.is_cut and not found else RecordReason.CORRUPT
