"""Ranges of remote files: tried again, asked for twice when slow, never waited for without end."""

import posixpath
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial

import fsspec

from pipeline.core.s3 import is_s3
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
    """Reads ranges of files below `root` on `connections` threads."""

    def __init__(
        self, fs: fsspec.AbstractFileSystem, root: str, patience: Patience, connections: int
    ) -> None:
        self._root, self._patience = root, patience
        self._read = SignedReads(fs).read if is_s3(fs) else partial(_cat, fs)
        self._threads = Threads(connections, "range")

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes start <= i < end of a file.

        Raises FileNotFoundError, OSError when every try failed, StalledRead. Whatever a file
        system raises besides is an OSError here.
        """
        pause = self._patience.backoff_s
        for left in range(self._patience.tries - 1, -1, -1):
            try:
                data = self._hedged(path, start, end)
                if len(data) == end - start:
                    return data
                problem: Exception = OSError(f"{len(data)} bytes came of {end - start}")
            except (FileNotFoundError, StalledRead):
                raise
            except Exception as error:  # noqa: BLE001 - every file system has errors of its own
                problem = error
            if left:
                time.sleep(pause)
                pause *= 2
        raise OSError(
            f"{path}, bytes {start} to {end}: {type(problem).__name__}: {problem} "
            f"({self._patience.tries} tries)"
        )

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _ask(self, full: str, start: int, end: int) -> "Future[bytes]":
        return self._threads.submit(self._read, full, start, end)

    def _hedged(self, path: str, start: int, end: int) -> bytes:
        full = posixpath.join(self._root, path)
        asked: set[Future[bytes]] = {self._ask(full, start, end)}
        patience = self._patience
        done, waiting = wait(asked, min(patience.hedge_s, patience.stall_s))
        if not done:
            waiting.add(self._ask(full, start, end))
            done, waiting = wait(
                waiting, patience.stall_s - patience.hedge_s, return_when=FIRST_COMPLETED
            )
            # One that failed says nothing yet about the other.
            if done and waiting and all(f.exception() for f in done):
                done = wait(waiting, patience.stall_s - patience.hedge_s).done or done
        for future in waiting:
            future.cancel()
        if not done:
            raise StalledRead(
                f"{full}, bytes {start} to {end}, have not come in {patience.stall_s:g} s, though "
                "asked for twice; is the storage reachable?"
            )
        good = [f for f in done if not f.exception()]
        return (good or list(done))[0].result()


def _cat(fs: fsspec.AbstractFileSystem, path: str, start: int, end: int) -> bytes:
    # By name: what comes second is a version with some file systems.
    data: bytes = fs.cat_file(path, start=start, end=end)
    return data
