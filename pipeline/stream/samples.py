"""The bytes of samples, from wherever a release is, each checked against its CRC-32C."""

import os
import posixpath
import struct
import time
from collections import OrderedDict
from collections.abc import Iterable
from threading import get_ident, local
from typing import NamedTuple, Protocol

import google_crc32c

from pipeline.core import release
from pipeline.core.errors import PairmillError
from pipeline.core.release import Manifest
from pipeline.core.ustar import BLOCK

# Two records of an index file: offset and CRC-32C of a sample, and where the next one starts.
_TWO_RECORDS = struct.Struct("<QIQ")
_RECORD_BYTES = release.INDEX.itemsize
# A range over this is an index gone wrong, not a sample.
_MAX_SAMPLE_BYTES = 1 << 30
_SIZE = slice(124, 135)  # of a ustar header: the member's size in octal


class Members(NamedTuple):
    """A sample, undecoded. txt: caption in UTF-8; json: the record in UTF-8."""

    key: str
    jpg: bytes
    txt: bytes
    json: bytes


class Damage(NamedTuple):
    """A sample that could not be had as it was written. what: in words, naming file and range."""

    shard: int
    row: int
    what: str


class StalledRead(PairmillError):
    """A read that gave nothing for too long; names the shard, the range and the seconds."""


class Samples(Protocol):
    """Where the samples of a release are read from. Safe to be used by several threads."""

    def read(self, shard: int, row: int, chunk: int) -> Members | Damage:
        """One sample; it is asked for again before it is given up."""
        ...

    def want(self, chunks: Iterable[int]) -> None:
        """These chunks will be needed soon; they may be fetched already."""
        ...

    def close(self) -> None:
        """Let go of files, threads and buffers."""
        ...


class UnderWay:
    """What each thread waits for just now, so that a stall can be told by shard and range."""

    def __init__(self) -> None:
        self._reads: dict[int, tuple[str, float]] = {}

    def begin(self, what: str) -> None:
        self._reads[get_ident()] = (what, time.monotonic())

    def end(self) -> None:
        self._reads.pop(get_ident(), None)

    def longest(self) -> str:
        """The read that has waited longest, with its seconds; in words."""
        reads = sorted(self._reads.values(), key=lambda read: read[1])
        if not reads:
            return "no read is under way"
        what, since = reads[0]
        return f"{what} has given nothing for {time.monotonic() - since:.0f} s"


def members(sample: bytes) -> Members:
    """Split a sample's bytes: three headers, each followed by its data, as `shards.writer` has it.

    Raises ValueError when that is not what they are.
    """
    name = sample[: sample.index(b"\0", 0, 100)]
    key, _, _ = name.partition(b".")
    found, at = [], 0
    for _ in release.SUFFIXES:
        size = int(sample[at + _SIZE.start : at + _SIZE.stop], 8)
        at += BLOCK
        found.append(sample[at : at + size])
        at += size + -size % BLOCK
    return Members(key.decode("ascii"), *found)


def checked(sample: bytes, crc32c: int, where: str) -> Members:
    """The members of a sample. Raises ValueError, naming `where`, unless its CRC-32C is the given
    one."""
    if google_crc32c.value(sample) != crc32c:
        raise ValueError(f"{where}: its CRC-32C is not the recorded one")
    return members(sample)


class LocalSamples:
    """A release on a local disk or a mounted file system: every sample is read by itself.

    The system's page cache does what buffers would. Every thread keeps up to `open_files` files
    open, its own, so that none is closed under another's hands.
    """

    def __init__(
        self, folder: str, manifest: Manifest, under_way: UnderWay, open_files: int = 128
    ) -> None:
        self._folder, self._manifest, self._limit = folder, manifest, open_files
        self._under_way = under_way
        self._own = local()

    def read(self, shard: int, row: int, chunk: int) -> Members | Damage:
        path = self._manifest.shards[shard].path
        first = self._try(path, row)
        if isinstance(first, Members):
            return first
        again = self._try(path, row)  # a read that went wrong, of a disk that has not
        return again if isinstance(again, Members) else Damage(shard, row, again)

    def want(self, chunks: Iterable[int]) -> None:
        pass

    def close(self) -> None:
        pass  # files close with their threads

    def _try(self, path: str, row: int) -> Members | str:
        self._under_way.begin(path)
        try:
            index = self._file(release.index_path(path))
            place = os.pread(index.descriptor, _TWO_RECORDS.size, row * _RECORD_BYTES)
            offset, crc32c, end = _TWO_RECORDS.unpack(place)
            where = f"{path}: sample {row}, bytes {offset} to {end}"
            if not 0 < end - offset <= _MAX_SAMPLE_BYTES:
                return f"{where}: no such range"
            data = os.pread(self._file(path).descriptor, end - offset, offset)
            return checked(data, crc32c, where)
        except FileNotFoundError:
            return f"{path} or its index is missing"
        except struct.error:
            return f"{release.index_path(path)} ends before sample {row}"
        except (ValueError, OSError) as error:
            return str(error)
        finally:
            self._under_way.end()

    def _file(self, path: str) -> "_File":
        files: OrderedDict[str, _File] | None = getattr(self._own, "files", None)
        if files is None:
            files = self._own.files = OrderedDict()
        file = files.get(path)
        if file is None:
            if len(files) >= self._limit:
                files.popitem(last=False)
            file = files[path] = _File(posixpath.join(self._folder, path))
        return file


class _File:
    """A file open for reading, closed when nobody holds it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)
