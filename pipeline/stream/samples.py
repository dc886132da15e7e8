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
from pipeline.stream.plan import Places

# Two records of an index file: offset and CRC-32C of a sample, and where the next one starts.
_TWO_RECORDS = struct.Struct("<QIQ")
_RECORD_BYTES = release.INDEX.itemsize
# Records that are read together: a lane goes on to the neighbours of a sample.
_BLOCK_ROWS = 64
# A range over this is an index gone wrong, not a sample.
_MAX_SAMPLE_BYTES = 1 << 30
# Of a ustar header: the member's size in octal.
_SIZE, _SIZE_ENDS = 124, 135


class Members(NamedTuple):
    """A sample, undecoded. txt: caption in UTF-8; json: the record in UTF-8."""

    key: str
    jpg: bytes
    txt: bytes
    json: bytes


# The fields of `Members`, which take less to make and to hold as a bare tuple.
Fields = tuple[str, bytes, bytes, bytes]


class Damage(NamedTuple):
    """A sample that could not be had as it was written. what: in words, naming file and range."""

    shard: int
    row: int
    what: str


class StalledRead(PairmillError):
    """A read that gave nothing for too long; names the shard, the range and the seconds."""


class Samples(Protocol):
    """Where the samples of a release are read from. Safe to be used by several threads."""

    def read(self, places: Places) -> list[Fields | Damage]:
        """The samples there, in order; each is asked for again before it is given up."""
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


def fields(data: bytes, start: int = 0) -> Fields:
    """Split a sample's bytes: three headers, each followed by its data, as `shards.writer` has it.

    start: where in the data it begins. Raises ValueError when that is not what is there.
    """
    # Without a loop: this is most of what reading costs beside copying.
    name = data[start : start + 100]
    jpg = start + BLOCK
    size = int(data[start + _SIZE : start + _SIZE_ENDS], 8)
    start = jpg + size + -size % BLOCK
    txt = start + BLOCK
    txt_size = int(data[start + _SIZE : start + _SIZE_ENDS], 8)
    start = txt + txt_size + -txt_size % BLOCK
    json = start + BLOCK
    json_size = int(data[start + _SIZE : start + _SIZE_ENDS], 8)
    return (
        name[: name.index(b".")].decode("ascii"),
        data[jpg : jpg + size],
        data[txt : txt + txt_size],
        data[json : json + json_size],
    )


def checked(sample: bytes, crc32c: int) -> Fields:
    """The fields of a sample. Raises ValueError unless its CRC-32C is the given one."""
    if google_crc32c.value(sample) != crc32c:
        raise ValueError("its CRC-32C is not the recorded one")
    return fields(sample)


class LocalSamples:
    """A release on a local disk or a mounted file system: every sample is read by itself.

    The system's page cache does what buffers would. Every thread keeps up to `open_shards` tars
    open, its own, so that none is closed under another's hands.
    """

    def __init__(
        self, folder: str, manifest: Manifest, under_way: UnderWay, open_shards: int = 128
    ) -> None:
        self._folder, self._manifest, self._limit = folder, manifest, open_shards
        self._under_way = under_way
        self._own = local()

    def read(self, places: Places) -> list[Fields | Damage]:
        """The samples there; what came damaged is read once more."""
        return [
            self._read(shard, row)
            for shard, row in zip(places.shard.tolist(), places.row.tolist(), strict=True)
        ]

    def _read(self, shard: int, row: int) -> Fields | Damage:
        first = self._try(shard, row)
        if isinstance(first, tuple):
            return first
        self._own.opened.pop(shard, None)
        again = self._try(shard, row)  # a read that went wrong, of a disk that has not
        return again if isinstance(again, tuple) else Damage(shard, row, again)

    def want(self, chunks: Iterable[int]) -> None:
        """Nothing: the page cache reads ahead."""

    def close(self) -> None:
        """Nothing: files close with their threads."""

    def _try(self, shard: int, row: int) -> Fields | str:
        path = self._manifest.shards[shard].path
        self._under_way.begin(path)
        offset = end = 0
        try:
            files = self._files(shard)
            block = files.blocks.get(row // _BLOCK_ROWS) or files.read_block(row // _BLOCK_ROWS)
            at = row % _BLOCK_ROWS * _RECORD_BYTES
            offset, crc32c, end = _TWO_RECORDS.unpack_from(block, at)
            if not 0 < end - offset <= _MAX_SAMPLE_BYTES:
                raise ValueError("no such range")
            data = os.pread(files.tar, end - offset, offset)
            return checked(data, crc32c)
        except FileNotFoundError:
            return f"{path} or its index is missing"
        except struct.error:
            return f"{release.index_path(path)} ends before sample {row}"
        except (ValueError, OSError) as error:
            return f"{path}: sample {row}, bytes {offset} to {end}: {error}"
        finally:
            self._under_way.end()

    def _files(self, shard: int) -> "_Files":
        opened: OrderedDict[int, _Files] | None = getattr(self._own, "opened", None)
        if opened is None:
            opened = self._own.opened = OrderedDict()
        files = opened.get(shard)
        if files is None:
            if len(opened) >= self._limit:
                opened.popitem(last=False)
            path = self._manifest.shards[shard].path
            files = opened[shard] = _Files(
                *(posixpath.join(self._folder, p) for p in (path, release.index_path(path)))
            )
        return files


class _Files:
    """A tar and its index, open for reading; closed when nobody holds them.

    blocks: records of the index that have been read, by number of their block.
    """

    def __init__(self, tar: str, index: str) -> None:
        self.tar = self.index = -1
        self.tar = os.open(tar, os.O_RDONLY)
        self.index = os.open(index, os.O_RDONLY)
        self.blocks: dict[int, bytes] = {}

    def read_block(self, number: int) -> bytes:
        """The records of `_BLOCK_ROWS` samples and the one that ends them."""
        size = (_BLOCK_ROWS + 1) * _RECORD_BYTES
        block = os.pread(self.index, size, number * _BLOCK_ROWS * _RECORD_BYTES)
        self.blocks[number] = block
        return block

    def __del__(self) -> None:
        for descriptor in (self.tar, self.index):
            if descriptor >= 0:
                os.close(descriptor)
