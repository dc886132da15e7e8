"""Reads a release sample by sample, in order, every sample checked. NumPy, pyarrow, fsspec only."""

import bisect
import itertools
import posixpath
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import fsspec
import google_crc32c
import numpy as np
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.errors import InputError, PairmillError

_READ_BYTES = 4 << 20
_COLUMNS = (
    "key",
    "offset",
    "bytes",
    "crc32c",
    *(f"{s}_{what}" for s in release.SUFFIXES for what in ("offset", "bytes")),
)


class CorruptSample(PairmillError):
    """Bytes of a release that are not those written; names the tar, the sample and its range."""


class Sample(NamedTuple):
    """One sample, undecoded. txt: caption in UTF-8; json: the record in UTF-8."""

    key: str
    jpg: bytes
    txt: bytes
    json: bytes


class Release:
    """A release in a folder or at any URL fsspec reads. Samples are numbered in release order.

    Opening reads the manifest alone; a shard's sample table is read when the shard is.
    Raises InputError when there is no release there.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self.manifest = release.load(self._fs, self._root)
        sizes = [s.samples for s in self.manifest.shards]
        self._starts = list(itertools.accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Sample]:
        return self.samples()

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        """Samples start <= i < stop, across shards. Raises as `read_shard`."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start <= len(self):
            raise IndexError(f"sample {start} of {len(self)}")
        shard = bisect.bisect_right(self._starts, start) - 1
        while start < stop:
            first, after = self._starts[shard], self._starts[shard + 1]
            yield from self.read_shard(shard, start - first, min(stop, after) - first)
            start, shard = after, shard + 1

    def read_shard(self, shard: int, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        """Samples start <= i < stop of one shard, read in ranges of some MiB.

        Memory: one range of 4 MiB, or one sample if that is larger. Raises CorruptSample when a
        sample's CRC-32C is not the recorded one, InputError when a file is missing or unreadable.
        """
        entry = self.manifest.shards[shard]
        path = posixpath.join(self._root, entry.path)
        rows = self._rows(entry, start, entry.samples if stop is None else stop)
        try:
            # Whole ranges are asked for; read-ahead of the file system's own would only copy.
            with self._fs.open(path, "rb", cache_type="none") as file:
                yield from _read(file, path, start, rows)
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None

    def _rows(self, entry: release.ShardEntry, start: int, stop: int) -> list[list[Any]]:
        """Columns `_COLUMNS` of samples start <= i < stop, as lists."""
        path = posixpath.join(self._root, release.sidecar_path(entry.path))
        try:
            with self._fs.open(path, "rb") as file:
                # Not read_table: it loads all of Arrow's dataset machinery, a third of a second.
                table = pq.ParquetFile(file, page_checksum_verification=True).read(
                    list(_COLUMNS), use_threads=False
                )
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None
        except (OSError, ValueError) as error:  # what pyarrow raises on damage
            raise InputError(f"{path} is damaged: {error}") from None
        if table.num_rows != entry.samples:
            raise InputError(f"{path} has {table.num_rows} rows, not {entry.samples}")
        table = table.slice(start, max(0, stop - start))
        keys = table["key"].to_pylist()
        # Not to_numpy: it loads pandas, which takes longer than reading a shard.
        numbers = (table[name].combine_chunks() for name in _COLUMNS[1:])
        return [keys, *(np.from_dlpack(column).tolist() for column in numbers)]


def _read(file: IO[bytes], path: str, start: int, rows: list[list[Any]]) -> Iterator[Sample]:
    offsets, sizes = rows[1], rows[2]
    checksum = google_crc32c.value
    first = 0
    while first < len(offsets):
        base = offsets[first]
        after = max(first + 1, bisect.bisect_right(offsets, base + _READ_BYTES) - 1)
        if after == len(offsets) - 1 and offsets[after] + sizes[after] <= base + _READ_BYTES:
            after += 1
        file.seek(base)
        block = file.read(offsets[after - 1] + sizes[after - 1] - base)
        columns = (column[first:after] for column in rows)
        for number, (key, offset, size, crc, *at) in enumerate(zip(*columns, strict=True), first):
            jpg, jpg_bytes, txt, txt_bytes, json, json_bytes = at
            data = block[offset - base : offset - base + size]
            if checksum(data) != crc:
                raise CorruptSample(
                    f"{path}: sample {start + number} (key {key}, bytes {offset} to "
                    f"{offset + size}) is damaged: its CRC-32C is not the recorded one"
                )
            jpg, txt, json = jpg - offset, txt - offset, json - offset
            yield Sample(
                key,
                data[jpg : jpg + jpg_bytes],
                data[txt : txt + txt_bytes],
                data[json : json + json_bytes],
            )
        first = after
