"""Reads a release sample by sample, in order, every sample checked."""

import bisect
import itertools
import posixpath
from collections.abc import Iterator
from typing import IO

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.errors import InputError, PairmillError
from pipeline.core.storage import file_system
from pipeline.stream.samples import Members, fields

_READ_BYTES = 4 << 20


class CorruptSample(PairmillError):
    """Bytes of a release that are not those written; names the tar, the sample and its range."""


class Release:
    """A release in a folder or at any URL fsspec reads. Samples are numbered in release order.

    Opening reads the manifest alone; a shard's index is read when the shard is.
    Raises InputError when there is no release there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = file_system(url)
        self.manifest = release.load(self._fs, self._root)
        sizes = [s.samples for s in self.manifest.shards]
        self._starts = list(itertools.accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Members]:
        return self.samples()

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Members]:
        """Samples start <= i < stop, across shards. Raises as `read_shard`."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start <= len(self):
            raise IndexError(f"sample {start} of {len(self)}")
        shard = bisect.bisect_right(self._starts, start) - 1
        while start < stop:
            first, after = self._starts[shard], self._starts[shard + 1]
            yield from self.read_shard(shard, start - first, min(stop, after) - first)
            start, shard = after, shard + 1

    def read_shard(self, shard: int, start: int = 0, stop: int | None = None) -> Iterator[Members]:
        """Samples start <= i < stop of one shard, read in ranges of some MiB.

        Memory: one range of 4 MiB, or one sample if that is larger. Raises CorruptSample when a
        sample's CRC-32C is not the recorded one, InputError when a file is missing or unreadable.
        """
        stop = self.manifest.shards[shard].samples if stop is None else stop
        return self._read_runs(shard, [(start, stop)])

    def read_rows(self, shard: int, rows: npt.NDArray[np.int32]) -> Iterator[Members]:
        """Some samples of a shard, by ascending row; runs of neighbours are read as one.

        Raises as `read_shard`.
        """
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
        return self._read_runs(shard, [(int(run[0]), int(run[-1]) + 1) for run in runs])

    def about(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """The sample table of a shard, or columns of it. Raises InputError when it is missing."""
        path = posixpath.join(self._root, release.sidecar_path(self.manifest.shards[shard].path))
        try:
            with self._fs.open(path, "rb") as file:
                return pq.read_table(file, columns=columns)
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged: {error}") from None

    def _read_runs(self, shard: int, runs: list[tuple[int, int]]) -> Iterator[Members]:
        entry = self.manifest.shards[shard]
        path = posixpath.join(self._root, entry.path)
        index = self._index(entry)
        try:
            # Whole ranges are asked for; read-ahead of the file system's own would only copy.
            with self._fs.open(path, "rb", cache_type="none") as file:
                for start, stop in runs:
                    yield from _read(file, path, start, index[start : stop + 1])
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None

    def _index(self, entry: release.ShardEntry) -> npt.NDArray[np.void]:
        """Records of `release.INDEX`, one more than samples."""
        path = posixpath.join(self._root, release.index_path(entry.path))
        try:
            data = self._fs.cat_file(path)
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None
        if len(data) != (entry.samples + 1) * release.INDEX.itemsize:
            raise InputError(f"{path} is damaged: {len(data)} bytes for {entry.samples} samples")
        records = np.frombuffer(data, release.INDEX)
        if (np.diff(records["offset"].astype(np.int64)) <= 0).any():
            raise InputError(f"{path} is damaged: offsets do not rise")
        return records


def _read(file: IO[bytes], path: str, start: int, index: npt.NDArray[np.void]) -> Iterator[Members]:
    offsets, crcs = index["offset"].tolist(), index["crc32c"].tolist()
    checksum, split = google_crc32c.value, fields
    first, count = 0, len(offsets) - 1
    while first < count:
        base = offsets[first]
        after = max(first + 1, bisect.bisect_right(offsets, base + _READ_BYTES) - 1)
        file.seek(base)
        block = file.read(offsets[after] - base)
        for number in range(first, after):
            data = block[offsets[number] - base : offsets[number + 1] - base]
            if checksum(data) != crcs[number]:
                raise CorruptSample(
                    f"{path}: sample {start + number}, bytes {offsets[number]} to "
                    f"{offsets[number + 1]}, is damaged: its CRC-32C is not the recorded one"
                )
            yield Members._make(split(data))
        first = after
