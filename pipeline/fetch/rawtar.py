"""Raw tars: plain ustar, appended to one member at a time, each member's bytes in one place.

Source: POSIX.1-1988 ustar, as in IEEE Std 1003.1, pax utility, "ustar Interchange Format".
"""

from typing import BinaryIO

BLOCK = 512
_MAX_BYTES = 8**11 - 1  # eleven octal digits


def header(name: str, size: int) -> bytes:
    """The 512-byte header of a regular file of `size` bytes, with mtime 0 and mode 644.

    Raises ValueError when the name (100 bytes) or the size (8 GiB) does not fit plain ustar.
    """
    encoded = name.encode("ascii")
    if len(encoded) > 100 or not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"{name}, {size} bytes: does not fit a ustar header")
    fields = (
        encoded.ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"%011o\0" % size
        + b"00000000000\0"
        + b" " * 8
        + b"0"
        + bytes(100)
        + b"ustar\x0000"
        + bytes(64)
        + b"0000000\0" * 2
        + bytes(167)
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


class RawTar:
    """Appends members to a binary file and says where their bytes are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0

    def append(self, image_id: bytes, data: bytes) -> int:
        """Write one member `<image_id in hex>.jpg`; the offset of its first data byte."""
        self._file.write(header(f"{image_id.hex()}.jpg", len(data)))
        self._file.write(data)
        self._file.write(bytes(-len(data) % BLOCK))
        at = self._offset + BLOCK
        self._offset = at + len(data) + -len(data) % BLOCK
        return at

    def close(self) -> None:
        """Write the end of the archive; the file itself stays open."""
        self._file.write(bytes(2 * BLOCK))
