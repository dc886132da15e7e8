"""A release on object storage: whole chunks by range reads, ahead of their use, within a budget."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from pipeline.stream.fetches import Fetches, Held
from pipeline.stream.plan import Places
from pipeline.stream.samples import Damage, Fields


class RemoteSamples:
    """Chunks are fetched once, when first wanted; up to `budget_bytes` of them are held, least
    recently used first to go.

    view_bytes: about how many bytes all chunks are. Where they are more than the budget, so that
    an epoch finds little of the one before, a chunk goes when all of it has been used: what comes
    next finds its memory in the processor's cache.

    A chunk that had to go before all of it was used is fetched again: `refetched` counts them; the
    remedy is more memory, a cache, fewer lanes or a smaller window.
    """

    def __init__(self, fetches: Fetches, budget_bytes: int, view_bytes: int) -> None:
        self._fetches, self._budget = fetches, budget_bytes
        self._drops_used = view_bytes > budget_bytes
        # Asking for one chunk may bring another, which is then counted within.
        self._lock = threading.RLock()
        self._held: OrderedDict[int, Future[Held]] = OrderedDict()
        # Those of `_held` that have come, to be asked without a lock.
        self._ready: dict[int, Held] = {}
        # How many samples of each of `_held` have been used.
        self._used: Counter[int] = Counter()
        self._bytes = 0
        self._gone: set[int] = set()
        self.refetched = 0

    def read(self, places: Places) -> list[Fields | Damage]:
        """Samples of their chunks, which are waited for; by themselves where they came damaged.

        Raises StalledRead.
        """
        ready, chunks, rows = self._ready, places.chunk.tolist(), places.row.tolist()
        found: list[Fields | Damage]
        try:
            found = [ready[chunk].samples[row] for chunk, row in zip(chunks, rows, strict=True)]
        except KeyError:  # some have not come, or not sound
            where = zip(places.shard.tolist(), rows, chunks, strict=True)
            found = [self._waited_for(*place) for place in where]
        if self._drops_used:
            self._drop_used(Counter(chunks))
        return found

    def want(self, chunks: Iterable[int]) -> None:
        """Start fetching the chunks that are not there."""
        for chunk in chunks:
            self._future(chunk)

    def close(self) -> None:
        """End the threads and let go of the chunks."""
        self._fetches.close()
        self._held.clear()
        self._ready.clear()

    def _waited_for(self, shard: int, row: int, chunk: int) -> Fields | Damage:
        held = self._ready.get(chunk)
        if held is None:
            try:
                held = self._fetches.wait(chunk, self._future(chunk))
            except OSError as error:
                return Damage(shard, row, str(error))
            finally:
                self._forget_failed(chunk)
        return held.samples.get(row) or self._fetches.alone(shard, row, chunk)

    def _future(self, chunk: int) -> "Future[Held]":
        with self._lock:
            future = self._held.get(chunk)
            if future is not None:
                self._held.move_to_end(chunk)
                return future
            if chunk in self._gone:
                self._gone.remove(chunk)
                self.refetched += 1
            future = self._held[chunk] = self._fetches.begin(chunk)
        future.add_done_callback(lambda future: self._arrived(chunk, future))
        return future

    def _arrived(self, chunk: int, future: "Future[Held]") -> None:
        """Count a chunk that has come, and let others go for it."""
        if future.exception() is not None:
            return
        held = future.result()
        with self._lock:
            if self._held.get(chunk) is not future:
                return
            self._ready[chunk] = held
            self._bytes += held.size
            going, over = [], self._bytes - self._budget
            for other in self._held:
                if over <= 0:
                    break
                if other in self._ready:
                    over -= self._ready[other].size
                    going.append(other)
            for other in going:
                self._let_go(other)
            self._gone.update(going)
        if self._drops_used:
            self._drop_used({chunk: 0})  # all of it may have been taken from the future already

    def _drop_used(self, used: Mapping[int, int]) -> None:
        """Let go of chunks of which so many samples more have been used, where that is all."""
        with self._lock:
            for chunk, number in used.items():
                if chunk not in self._held:
                    continue
                self._used[chunk] += number
                held = self._ready.get(chunk)
                if held is not None and self._used[chunk] >= held.selected:
                    self._let_go(chunk)

    def _let_go(self, chunk: int) -> None:
        self._bytes -= self._ready.pop(chunk).size
        del self._held[chunk], self._used[chunk]

    def _forget_failed(self, chunk: int) -> None:
        """A chunk that failed is asked for again by who wants it next."""
        with self._lock:
            future = self._held.get(chunk)
            if future is not None and future.done() and future.exception() is not None:
                del self._held[chunk], self._used[chunk]
