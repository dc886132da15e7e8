"""Checksums of a table's files, in the form that Hadoop's local file system keeps them.

Beside `part-00000.parquet` lies `.part-00000.parquet.crc`, a CRC-32 for each 512 bytes. Spark
writes them for its tables on a disk or a NAS, and refuses what it reads when they do not hold; for
files that are written in Python they are written here. They cover a Parquet file's footer, which no
checksum of Parquet does. Object stores and HDFS check what they hold themselves.
Source: org.apache.hadoop.fs.ChecksumFileSystem.
"""

import struct
import zlib
from pathlib import Path
from typing import IO

CHUNK_BYTES = 512
_HEADER = b"crc\0" + struct.pack(">I", CHUNK_BYTES)
_FOOTER_TAIL = 8  # a Parquet file ends with the footer's length and "PAR1"


class Summed:
    """A binary file to write to that takes the checksums on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sums = bytearray(_HEADER)
        self._open = b""  # of the last chunk, not whole yet
        self._size = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The file itself stays open: its owner closes it."""

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._size += len(data)
        held = self._open + bytes(data)
        whole = len(held) // CHUNK_BYTES * CHUNK_BYTES
        self._sums += _sums(memoryview(held)[:whole])
        self._open = held[whole:]
        return len(data)

    def sums(self) -> bytes:
        """The content of the .crc file of what was written so far."""
        return bytes(self._sums) + _sums(memoryview(self._open))


def _sums(data: memoryview) -> bytes:
    starts = range(0, len(data), CHUNK_BYTES)
    found = [zlib.crc32(data[start : start + CHUNK_BYTES]) for start in starts]
    return struct.pack(f">{len(found)}I", *found)


def beside(file: str | Path) -> Path:
    """Where the checksums of a local file lie."""
    path = Path(file)
    return path.with_name(f".{path.name}.crc")


def footer_holds(file: str | Path) -> bool:
    """Whether size and footer of a local Parquet file are as they were written; true without
    checksums. Reads the footer alone."""
    size = Path(file).stat().st_size
    with open(file, "rb") as opened:
        opened.seek(max(0, size - _FOOTER_TAIL))
        length = int.from_bytes(opened.read(4), "little")
    return _hold(file, max(0, size - _FOOTER_TAIL - length))


def holds(file: str | Path) -> bool:
    """Whether a local file is as it was written; true without checksums. Reads all of it."""
    return _hold(file, 0)


def _hold(file: str | Path, start: int) -> bool:
    """Whether the chunks from the one of byte `start` on have their checksums."""
    try:
        stated = beside(file).read_bytes()
    except FileNotFoundError:
        return True
    size = Path(file).stat().st_size
    chunks = -(-size // CHUNK_BYTES)
    if stated[: len(_HEADER)] != _HEADER or len(stated) != len(_HEADER) + 4 * chunks:
        return False
    first = start // CHUNK_BYTES
    at = len(_HEADER) + 4 * first
    with open(file, "rb") as opened:
        opened.seek(first * CHUNK_BYTES)
        while block := opened.read(1 << 20):
            sums = _sums(memoryview(block))
            if stated[at : at + len(sums)] != sums:
                return False
            at += len(sums)
    return True
