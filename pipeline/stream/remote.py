"""A release on object storage: whole chunks by range reads, ahead of their use, within a budget."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from pipeline.core import release
from pipeline.core.release import Manifest
from pipeline.stream.cache import DiskCache
from pipeline.stream.chunks import Chunks
from pipeline.stream.ranges import Ranges
from pipeline.stream.samples import Damage, Members, UnderWay, checked
from pipeline.stream.threads import Threads

# Records of `release.INDEX`.
Index = npt.NDArray[np.void]

_RECORD_BYTES = release.INDEX.itemsize
# How often a sample that came damaged is asked for by itself.
_SAMPLE_TRIES = 3
# Up to so many shards their indexes are read whole and held (120 KB for 10,000 samples), which
# halves the requests. With more, the index of each chunk is asked for by itself.
_HELD_INDEXES = 1024


class _Held:
    """A fetched chunk: its first row in the shard, its bytes, and of each sample where in the shard
    it starts (and where the last ends) and its recorded CRC-32C, as Python's own numbers."""

    def __init__(self, first: int, index: Index, data: bytes) -> None:
        self.first, self.data = first, data
        self.offsets: list[int] = index["offset"].tolist()
        self.crc32c: list[int] = index["crc32c"].tolist()


class RemoteSamples:
    """Chunks are fetched once, when first wanted, by `fetchers` threads; `budget_bytes` of them are
    held, least recently used first to go, and on disk as well where a cache is given.

    A chunk that had to go before all of it was used is fetched again: `refetched` counts them; the
    remedy is more memory, a cache, fewer lanes or a smaller window.
    """

    def __init__(
        self,
        ranges: Ranges,
        manifest: Manifest,
        chunks: Chunks,
        under_way: UnderWay,
        *,
        fetchers: int,
        budget_bytes: int,
        cache: DiskCache | None = None,
    ) -> None:
        self._ranges, self._manifest, self._chunks = ranges, manifest, chunks
        self._under_way, self._cache = under_way, cache
        self._budget = budget_bytes
        self._threads = Threads(fetchers, "chunk")
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Future[_Held]] = OrderedDict()
        # Those of `_held` that have come, to be asked without a lock.
        self._ready: dict[int, _Held] = {}
        self._bytes = 0
        self._gone: set[int] = set()
        self._indexes: dict[int, Future[Index]] = {}
        self.refetched = 0

    def read(self, shard: int, row: int, chunk: int) -> Members | Damage:
        """One sample of its chunk, which is waited for; alone, some times, if it came damaged.

        Raises StalledRead.
        """
        held = self._ready.get(chunk)
        if held is None:
            try:
                held = self._future(chunk).result()
            except OSError as error:
                return Damage(shard, row, str(error))
            finally:
                self._forget_failed(chunk)
        number = row - held.first
        offsets = held.offsets
        base, offset, end = offsets[0], offsets[number], offsets[number + 1]
        try:
            return checked(held.data[offset - base : end - base], held.crc32c[number])
        except ValueError:
            path = self._manifest.shards[shard].path
            return self._again(shard, row, chunk, f"{path}: sample {row}, bytes {offset} to {end}")

    def want(self, chunks: Iterable[int]) -> None:
        """Start fetching the chunks that are not there."""
        for chunk in chunks:
            self._future(chunk)

    def close(self) -> None:
        """End the threads and let go of the chunks."""
        self._threads.close()
        self._ranges.close()
        self._held.clear()
        self._ready.clear()

    def _again(self, shard: int, row: int, chunk: int, where: str) -> Members | Damage:
        """A sample that came damaged, by itself, with its index."""
        path = self._manifest.shards[shard].path
        if self._cache:
            self._cache.drop(self._name(chunk))
        problem = ""
        for _ in range(_SAMPLE_TRIES):
            try:
                at = row * _RECORD_BYTES
                index = self._index(path, at, at + 2 * _RECORD_BYTES)
                start, end = (int(o) for o in index["offset"])
                return checked(self._ranges.read(path, start, end), int(index["crc32c"][0]))
            except (OSError, ValueError) as error:
                problem = f"{where}: {error}"
        return Damage(shard, row, problem)

    def _future(self, chunk: int) -> "Future[_Held]":
        with self._lock:
            future = self._held.get(chunk)
            if future is None:
                if chunk in self._gone:
                    self.refetched += 1
                future = self._held[chunk] = self._threads.submit(self._fetch, chunk)
            else:
                self._held.move_to_end(chunk)
            return future

    def _forget_failed(self, chunk: int) -> None:
        """A chunk that failed is asked for again by who wants it next."""
        with self._lock:
            future = self._held.get(chunk)
            if future is not None and future.done() and future.exception() is not None:
                del self._held[chunk]

    def _fetch(self, chunk: int) -> _Held:
        shard, first = int(self._chunks.shard[chunk]), int(self._chunks.first[chunk])
        rows = int(self._chunks.rows[chunk])
        path = self._manifest.shards[shard].path
        self._under_way.begin(f"{path}: samples {first} to {first + rows}")
        try:
            held = self._cached(chunk, rows) or self._download(path, chunk, first, rows)
        finally:
            self._under_way.end()
        self._make_room(len(held.data))
        self._ready[chunk] = held
        return held

    def _download(self, path: str, chunk: int, first: int, rows: int) -> _Held:
        index = self._index_of(chunk)
        data = self._ranges.read(path, int(index["offset"][0]), int(index["offset"][-1]))
        if self._cache:
            self._cache.put(self._name(chunk), index.tobytes() + data)
        return _Held(first, index, data)

    def _cached(self, chunk: int, rows: int) -> _Held | None:
        data = self._cache.get(self._name(chunk)) if self._cache else None
        size = (rows + 1) * _RECORD_BYTES
        if data is None or len(data) < size:
            return None
        index = np.frombuffer(data[:size], release.INDEX)
        whole = len(data) - size == int(index["offset"][-1]) - int(index["offset"][0])
        first = int(self._chunks.first[chunk])
        return _Held(first, index, data[size:]) if whole else None

    def _name(self, chunk: int) -> str:
        shard = self._manifest.shards[int(self._chunks.shard[chunk])]
        first, rows = int(self._chunks.first[chunk]), int(self._chunks.rows[chunk])
        return f"{shard.sha256}-{first}-{rows}"

    def _index_of(self, chunk: int) -> Index:
        """The records of a chunk, one more than its samples."""
        shard, first = int(self._chunks.shard[chunk]), int(self._chunks.first[chunk])
        stop = first + int(self._chunks.rows[chunk]) + 1
        path = self._manifest.shards[shard].path
        if len(self._manifest.shards) > _HELD_INDEXES:
            return self._index(path, first * _RECORD_BYTES, stop * _RECORD_BYTES)
        with self._lock:
            held = self._indexes.get(shard)
            future: Future[Index] = held or Future()
            self._indexes[shard] = future
        if held is None:
            size = (self._manifest.shards[shard].samples + 1) * _RECORD_BYTES
            try:
                data = self._ranges.read(release.index_path(path), 0, size)
                future.set_result(np.frombuffer(data, release.INDEX))
            except BaseException as error:
                with self._lock:
                    del self._indexes[shard]
                future.set_exception(error)
                raise
        return _rising(path, future.result()[first:stop])

    def _index(self, path: str, start: int, end: int) -> Index:
        data = self._ranges.read(release.index_path(path), start, end)
        return _rising(path, np.frombuffer(data, release.INDEX))

    def _make_room(self, size: int) -> None:
        with self._lock:
            self._bytes += size
            for chunk in list(self._held):
                if self._bytes <= self._budget:
                    return
                future = self._held[chunk]
                if future.done() and future.exception() is None:
                    self._bytes -= len(future.result().data)
                    del self._held[chunk]
                    self._ready.pop(chunk, None)
                    self._gone.add(chunk)


def _rising(path: str, records: Index) -> Index:
    """The records. Raises OSError when they are no index."""
    offsets = records["offset"].astype(np.int64)
    if (np.diff(offsets) <= 0).any():
        raise OSError(f"{release.index_path(path)} is damaged: offsets do not rise")
    return records
