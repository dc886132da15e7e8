"""Chunks of a remote release: asked for with no thread that waits; where that fails, patiently."""

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from pipeline.core import release
from pipeline.stream.cache import DiskCache
from pipeline.stream.chunks import Chunks
from pipeline.stream.pieces import Index, Pieces
from pipeline.stream.ranges import Ranges
from pipeline.stream.reads import in_pieces
from pipeline.stream.samples import Damage, Fields, UnderWay, checked
from pipeline.stream.threads import Threads
from pipeline.stream.views import View, byte_starts

_RECORD_BYTES = release.INDEX.itemsize
# How often a sample that came damaged is asked for by itself.
_SAMPLE_TRIES = 3
# Up to so many shards their indexes are read whole and held (120 KB for 10,000 samples), which
# halves the requests. With more, the index of each chunk is asked for by itself.
_HELD_INDEXES = 1024


class Held(NamedTuple):
    """A fetched chunk: its selected samples by their row in the shard, but for those that came
    damaged; how many are selected, and how many bytes they are."""

    samples: dict[int, Fields]
    selected: int
    size: int


class _Records(NamedTuple):
    """Records of an index, from one on, that have been asked for; and the chunks, with who waits
    for them, that are to be asked for when they have come. Such calls are not left to the future,
    which would hold all that they hold for as long as it lives."""

    first: int
    came: "Future[list[Index]]"
    waiting: list[tuple[int, "Future[Held]"]]


class Fetches:
    """Fetches the chunks of a view, and single samples, from storage or a cache on disk.

    Where a chunk is found in the cache, goes into it, fails, or is waited for too long, one of
    `fetchers` threads sees to it, with all of the patience that `ranges` has.
    """

    def __init__(
        self,
        ranges: Ranges,
        view: View,
        chunks: Chunks,
        under_way: UnderWay,
        *,
        fetchers: int,
        cache: DiskCache | None = None,
    ) -> None:
        self._ranges, self._view, self._chunks = ranges, view, chunks
        self._byte_starts = byte_starts(view.manifest)
        self._under_way, self._cache = under_way, cache
        self._threads = Threads(fetchers, "chunk")
        self._lock = threading.RLock()  # a call may be answered at once, within it
        self._insisted: set[Future[Held]] = set()
        self._indexes: dict[int, _Records] = {}

    def begin(self, chunk: int) -> "Future[Held]":
        """Ask for a chunk. The future has StalledRead, or OSError for what every try ended in."""
        future: Future[Held] = Future()
        if self._cache is not None:
            self.insist(chunk, future)
            return future
        try:
            records = self._records(chunk)
        except Exception:  # noqa: BLE001 - the thread meets it too, and tells
            self.insist(chunk, future)
            return future
        with self._lock:
            records.waiting.append((chunk, future))
        if records.came.done():
            self._ask_waiting(records)
        return future

    def insist(self, chunk: int, future: "Future[Held]") -> None:
        """Have a thread see to a chunk whose future is not done."""
        with self._lock:
            if future in self._insisted:
                return
            self._insisted.add(future)
        self._threads.submit(self._fetch, chunk, future)

    def wait(self, chunk: int, future: "Future[Held]") -> Held:
        """The chunk, which is asked for once more when it is long in coming. Raises as `begin`."""
        self._under_way.begin(self._words(chunk))
        try:
            with suppress(TimeoutError):
                return future.result(self._ranges.patience.hedge_s)
            self.insist(chunk, future)
            return future.result()
        finally:
            self._under_way.end()

    def alone(self, shard: int, row: int, chunk: int) -> Fields | Damage:
        """A sample that came damaged, by itself, with its index."""
        path = self._view.manifest.shards[shard].path
        if self._cache:
            self._cache.drop(self._name(chunk))
        where, problem = f"{path}: sample {row}", ""
        for _ in range(_SAMPLE_TRIES):
            try:
                index = self._index(path, row, row + 2)
                start, end = (int(o) for o in index["offset"])
                where = f"{path}: sample {row}, bytes {start} to {end}"
                return checked(self._ranges.read(path, start, end), int(index["crc32c"][0]))
            except (OSError, ValueError) as error:
                problem = f"{where}: {error}"
        return Damage(shard, row, problem)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
        self._ranges.close()

    def _ask_waiting(self, records: _Records) -> None:
        with self._lock:
            waiting = records.waiting[:]
            records.waiting.clear()
        for chunk, future in waiting:
            self._ask(chunk, future, records)

    def _ask(self, chunk: int, future: "Future[Held]", records: _Records) -> None:
        """Ask for a chunk whose index has come; called by the thread that brought that, which may
        wait here for an object's URL to be signed (some milliseconds)."""
        try:
            pieces = self._pieces(chunk, self._chosen(chunk, records))
            came = self._ranges.submit(self._path(chunk), pieces.edges, pieces)
        except Exception:  # noqa: BLE001 - as in `begin`
            self._indexes.pop(int(self._chunks.shard[chunk]), None)
            self.insist(chunk, future)
        else:
            came.add_done_callback(lambda came: self._take(chunk, future, pieces, came))

    def _take(
        self,
        chunk: int,
        future: "Future[Held]",
        pieces: Pieces,
        came: "Future[list[dict[int, Fields]]]",
    ) -> None:
        if came.exception() is None:
            _settle(future, _joined(pieces, came.result()))
        else:
            self.insist(chunk, future)

    def _fetch(self, chunk: int, future: "Future[Held]") -> None:
        self._under_way.begin(self._words(chunk))
        try:
            held: Held | BaseException = self._cached(chunk) or self._download(chunk)
        except BaseException as error:  # noqa: BLE001 - the future carries it to who waits
            held = error
        self._under_way.end()
        with self._lock:
            self._insisted.discard(future)
        _settle(future, held)

    def _download(self, chunk: int) -> Held:
        path, index = self._path(chunk), self._patient_index(chunk)
        pieces = self._pieces(chunk, index)
        if self._cache is None:
            return _joined(pieces, self._ranges.use(path, pieces.edges, pieces))
        data = self._ranges.read(path, pieces.edges[0], pieces.edges[-1])
        self._cache.put(self._name(chunk), index.tobytes() + data)
        return _joined(pieces, in_pieces(memoryview(data), pieces.edges, pieces))

    def _cached(self, chunk: int) -> Held | None:
        data = self._cache.get(self._name(chunk)) if self._cache else None
        head = (int(self._chunks.rows[chunk]) + 1) * _RECORD_BYTES
        if data is None or len(data) < head:
            return None
        pieces = self._pieces(chunk, np.frombuffer(data[:head], release.INDEX))
        if len(data) - head != pieces.edges[-1] - pieces.edges[0]:
            return None
        return _joined(pieces, in_pieces(memoryview(data)[head:], pieces.edges, pieces))

    def _pieces(self, chunk: int, index: Index) -> Pieces:
        first, stop = self._rows(chunk)
        if self._view.bits is None:
            return Pieces(index, first, None)
        shard = int(self._chunks.shard[chunk])
        return Pieces(index, first, self._view.rows(shard, first, stop - first, self._byte_starts))

    def _rows(self, chunk: int) -> tuple[int, int]:
        first = int(self._chunks.first[chunk])
        return first, first + int(self._chunks.rows[chunk])

    def _path(self, chunk: int) -> str:
        return self._view.manifest.shards[int(self._chunks.shard[chunk])].path

    def _words(self, chunk: int) -> str:
        first, stop = self._rows(chunk)
        return f"{self._path(chunk)}: samples {first} to {stop}"

    def _name(self, chunk: int) -> str:
        shard = self._view.manifest.shards[int(self._chunks.shard[chunk])]
        first, stop = self._rows(chunk)
        return f"{shard.sha256}-{first}-{stop - first}"

    def _records(self, chunk: int) -> _Records:
        """The index of a chunk's shard, or of the chunk alone, which has been asked for."""
        shards, shard = self._view.manifest.shards, int(self._chunks.shard[chunk])
        path = release.index_path(shards[shard].path)
        if len(shards) > _HELD_INDEXES:
            first, stop = self._rows(chunk)
            return self._asked_records(path, first, stop + 1)
        with self._lock:
            records = self._indexes.get(shard)
            if records is None:
                records = self._asked_records(path, 0, shards[shard].samples + 1)
                self._indexes[shard] = records
        return records

    def _asked_records(self, path: str, first: int, stop: int) -> _Records:
        edges = [first * _RECORD_BYTES, stop * _RECORD_BYTES]
        records = _Records(first, self._ranges.submit(path, edges, _index_in), [])
        records.came.add_done_callback(lambda _: self._ask_waiting(records))
        return records

    def _chosen(self, chunk: int, records: _Records) -> Index:
        """The records of a chunk, one more than its samples, of those that have come."""
        first, stop = self._rows(chunk)
        (index,) = records.came.result()
        return index[first - records.first : stop + 1 - records.first]

    def _patient_index(self, chunk: int) -> Index:
        """As `_chosen`, asked for by itself where what was asked for before is of no use."""
        try:
            records = self._records(chunk)
            records.came.result(self._ranges.patience.hedge_s)
            return self._chosen(chunk, records)
        except Exception:  # noqa: BLE001 - if it lasts, it is told here
            first, stop = self._rows(chunk)
            return self._index(self._path(chunk), first, stop + 1)

    def _index(self, path: str, start: int, stop: int) -> Index:
        edges = start * _RECORD_BYTES, stop * _RECORD_BYTES
        return self._ranges.use(release.index_path(path), edges, _index_in)[0]


def _index_in(_: int, data: memoryview) -> Index:
    """The records of an index. Raises OSError when they are none."""
    index = np.frombuffer(bytes(data), release.INDEX)
    if (np.diff(index["offset"].astype(np.int64)) <= 0).any():
        raise OSError("the index is damaged: offsets do not rise")
    return index


def _settle(future: "Future[Held]", held: Held | BaseException) -> None:
    """End the wait for a chunk, unless another request has done so."""
    with suppress(InvalidStateError):
        if isinstance(held, Held):
            future.set_result(held)
        else:
            future.set_exception(held)


def _joined(pieces: Pieces, parts: list[dict[int, Fields]]) -> Held:
    samples: dict[int, Fields] = {}
    for part in parts:
        samples |= part
    return Held(samples, pieces.wanted, pieces.wanted_bytes)
