"""Ranges of remote files: tried again, asked for twice when slow, never waited for without end."""

import posixpath
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass

import fsspec

from pipeline.core.s3 import is_s3
from pipeline.stream.reads import Reads, T, Use, WholeReads
from pipeline.stream.samples import StalledRead
from pipeline.stream.signed import SignedReads
from pipeline.stream.threads import Threads


@dataclass(frozen=True)
class Patience:
    """How remote reads are waited for.

    tries: of a range, before it is given up. backoff_s: pause after the first, doubled each time.
    hedge_s: after this long without an answer the range is asked for once more beside, and the
    first answer counts. stall_s: after this long the read is given up with `StalledRead`.
    """

    tries: int = 4
    backoff_s: float = 0.5
    hedge_s: float = 2.0
    stall_s: float = 60.0


class Ranges:
    """Reads ranges of files below `root`, up to `connections` at a time; what is asked for again
    beside has as many of its own, for the others may all be stuck."""

    def __init__(
        self, fs: fsspec.AbstractFileSystem, root: str, patience: Patience, connections: int
    ) -> None:
        self._root, self.patience = root, patience
        self._reads = _reads(fs, connections)
        self._second_reads = _reads(fs, connections)

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes start <= i < end of a file. Raises as `use`."""
        return self.use(path, [start, end], lambda _, data: bytes(data))[0]

    def use(self, path: str, edges: Sequence[int], use: Use[T]) -> list[T]:
        """What `use` makes of each piece of bytes edges[0] <= i < edges[-1] of a file, in order.

        Raises FileNotFoundError, OSError when every try failed, StalledRead. Whatever a file
        system raises besides is an OSError here.
        """
        pause = self.patience.backoff_s
        for left in range(self.patience.tries - 1, -1, -1):
            try:
                return self._hedged(path, edges, use)
            except (FileNotFoundError, StalledRead):
                raise
            except Exception as error:  # noqa: BLE001 - every file system has errors of its own
                problem = error
            if left:
                time.sleep(pause)
                pause *= 2
        raise OSError(
            f"{path}, bytes {edges[0]} to {edges[-1]}: {type(problem).__name__}: {problem} "
            f"({self.patience.tries} tries)"
        )

    def submit(self, path: str, edges: Sequence[int], use: Use[T]) -> "Future[list[T]]":
        """As `use`, by one try without patience; the future has what came of it."""
        return self._reads.submit(posixpath.join(self._root, path), edges, use)

    def close(self) -> None:
        """End the threads."""
        self._reads.close()
        self._second_reads.close()

    def _hedged(self, path: str, edges: Sequence[int], use: Use[T]) -> list[T]:
        patience, first = self.patience, self.submit(path, edges, use)
        with suppress(FutureTimeout):
            return first.result(min(patience.hedge_s, patience.stall_s))
        full, left_s = posixpath.join(self._root, path), patience.stall_s - patience.hedge_s
        second = self._second_reads.submit(full, edges, use)
        done, waiting = wait((first, second), left_s, return_when=FIRST_COMPLETED)
        # One that failed says nothing yet about the other.
        if done and waiting and all(f.exception() for f in done):
            done = wait(waiting, left_s).done or done
        for future in waiting:
            future.cancel()
        if not done:
            raise StalledRead(
                f"{full}, bytes {edges[0]} to {edges[-1]}, have not come in "
                f"{patience.stall_s:g} s, though asked for twice; is the storage reachable?"
            )
        good = [f for f in done if not f.exception()]
        return (good or list(done))[0].result()


def _reads(fs: fsspec.AbstractFileSystem, connections: int) -> Reads:
    if is_s3(fs):
        return SignedReads(fs, connections)
    return WholeReads(fs, Threads(connections, "range"))
