"""The plain bytes of an archive, gzip member by gzip member, from any offset on."""

from collections.abc import Collection, Iterator
from typing import IO, Any, NamedTuple

from isal import isal_zlib

from pipeline.extract.inflate import READING_MEMBER, Rows, note
from pipeline.extract.record import RECORD_START

_INFLATE_ERROR: Any = isal_zlib.error
GZIP_MAGIC = b"\x1f\x8b\x08"
# Read at once from the file. What a member leaves of it is copied, so it is not much larger than
# the members of Common Crawl's archives.
_WINDOW_BYTES = 32 << 10
_PLAIN_BYTES = 1 << 20
_SCAN_BYTES = 1 << 20
_PROBE_BYTES = 4096
_PROBE_PLAIN_BYTES = 64 << 10
# Zeros that fill up the last block of a disk or tape; more of them are a file that was cut.
_MAX_PADDING_BYTES = 4096


class Place(NamedTuple):
    """offset: of a gzip member in the file, or of the place itself in a plain file. inner: bytes
    into the member's plain content; 0 in a plain file."""

    offset: int
    inner: int


class Damaged(Exception):
    """A member cannot be inflated. is_cut: because the file ends. is_skipped: it was not tried."""

    def __init__(self, is_cut: bool = False, is_skipped: bool = False) -> None:
        super().__init__("cut" if is_cut else "skipped" if is_skipped else "corrupt")
        self.is_cut = is_cut
        self.is_skipped = is_skipped


class PlainFile:
    """An archive that is not compressed, in the shape of one gzip member."""

    is_gzip = False
    is_done = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.offset = 0

    def open(self, offset: int) -> bool:
        """Go on at an offset."""
        self._file.seek(offset)
        self.offset = offset
        return True

    def next(self) -> bool:
        """There is no second member."""
        return False

    def inflate(self) -> bytes:
        """The next stretch; empty at the end of the file."""
        return self._file.read(_PLAIN_BYTES)

    def find(self, start: int) -> bool:
        """There is no other member to go to."""
        return False


class GzipFile:
    """The members of a gzip file.

    watch: what is read next is noted in it, before native code sees it.
    skip: offsets of members that are not to be inflated.
    """

    is_gzip = True

    def __init__(self, file: IO[bytes], watch: Rows, skip: Collection[int]) -> None:
        self._file = file
        self._watch = watch
        self._skip = skip
        self._window = b""
        self._window_end = 0  # offset in the file
        self._inflater = isal_zlib.decompressobj(31)
        self.offset = 0

    def open(self, offset: int) -> bool:
        """Start on the member at an offset; False at the end of the file. Raises Damaged."""
        rest = self._window_end - offset
        if 0 < rest <= len(self._window):
            self._window = self._window[len(self._window) - rest :]
        else:
            self._file.seek(offset)
            self._window, self._window_end = b"", offset
        return self._start()

    def next(self) -> bool:
        """Start on the member behind the present one, which has been inflated to its end."""
        self._window = self._inflater.unused_data
        return self._start()

    def _start(self) -> bool:
        if len(self._window) < 18:  # the smallest member
            self._window += self._read(_WINDOW_BYTES)
        window = self._window
        offset = self.offset = self._window_end - len(window)
        if not window.startswith(GZIP_MAGIC):
            if self._is_padding():
                return False
            raise Damaged(is_cut=GZIP_MAGIC.startswith(window))
        note(self._watch, offset, READING_MEMBER)
        if offset in self._skip:
            raise Damaged(is_skipped=True)
        self._inflater = isal_zlib.decompressobj(31)
        return True

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._window_end += len(data)
        return data

    def _is_padding(self) -> bool:
        """True at the end of the file, or when only a few zeros are left of it."""
        while len(self._window) <= _MAX_PADDING_BYTES and not self._window.strip(b"\0"):
            if not (data := self._read(_WINDOW_BYTES)):
                return True
            self._window += data
        return False

    @property
    def is_done(self) -> bool:
        """True when the member has been inflated to its end and its checksum is right."""
        return bool(self._inflater.eof)

    def inflate(self) -> bytes:
        """The next 1 MiB of the member, less only at its end, where it is empty. Raises Damaged
        when its bytes or its checksum are wrong, or the file ends inside it: what is given before
        does not depend on how the file happened to be read."""
        inflater = self._inflater
        data = self._window
        self._window = b""
        parts: list[bytes] = []
        left = _PLAIN_BYTES
        try:
            while left and not inflater.eof:
                data = inflater.unconsumed_tail or data or self._read(_WINDOW_BYTES)
                # Without input too: some output may be left inside.
                plain: bytes = inflater.decompress(data, left)
                if plain:
                    parts.append(plain)
                    left -= len(plain)
                elif not data and not inflater.eof:
                    raise Damaged(is_cut=True)
                data = b""
        except _INFLATE_ERROR:
            raise Damaged from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def find(self, start: int) -> bool:
        """Go to the first member at or after `start` that starts with a record or has one near its
        start, found by its magic; False when there is none. Memory: two scan blocks."""
        at, window = start, b""
        self._file.seek(start)
        is_last = False
        while not is_last:
            note(self._watch, at, READING_MEMBER)
            chunk = self._file.read(_SCAN_BYTES)
            is_last = not chunk
            window += chunk
            done = len(window) if is_last else max(0, len(window) - _PROBE_BYTES)
            for found in _magics(window, done):
                note(self._watch, at + found, READING_MEMBER)
                if at + found in self._skip:
                    continue
                if _is_record(window[found : found + _PROBE_BYTES]):
                    self._file.seek(at + found)
                    self._window, self._window_end = b"", at + found
                    return self._start()
            window = window[done:]
            at += done
        return False


def _magics(window: bytes, end: int) -> Iterator[int]:
    at = window.find(GZIP_MAGIC, 0, end + 2)
    while at >= 0:
        yield at
        at = window.find(GZIP_MAGIC, at + 1, end + 2)


def _is_record(data: bytes) -> bool:
    """True when the bytes start a gzip member in whose beginning a WARC record starts."""
    if data[3:4] > b"\x1f":  # reserved flags, RFC 1952 section 2.3.1
        return False
    try:
        plain: bytes = isal_zlib.decompressobj(31).decompress(data, _PROBE_PLAIN_BYTES)
    except _INFLATE_ERROR:
        return False
    return plain.startswith(b"WARC/") or RECORD_START.search(plain) is not None


def open_members(file: IO[bytes], watch: Rows, skip: Collection[int]) -> PlainFile | GzipFile:
    """The archive as members. What starts with neither magic is what its first record shows."""
    file.seek(0)
    head = file.read(64 << 10)
    is_plain = head.startswith(b"WARC/") or (
        not head.startswith(GZIP_MAGIC) and RECORD_START.search(head) is not None
    )
    return PlainFile(file) if is_plain else GzipFile(file, watch, skip)
