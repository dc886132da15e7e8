"""Ranges of files by any file system of fsspec, on threads."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeVar

import fsspec

from pipeline.stream.threads import Threads

T = TypeVar("T")

# What is done with a piece of a file in the thread that received it: called with where it starts
# in the file and its bytes, which are there during the call alone. It may be called twice for a
# piece, and by two threads at a time.
Use = Callable[[int, memoryview], T]


class Reads(Protocol):
    """Asks for ranges of files, many at a time."""

    def submit(self, path: str, edges: Sequence[int], use: Use[T]) -> "Future[list[T]]":
        """Have bytes edges[0] <= i < edges[-1] of a file read, and each piece between neighbouring
        edges used: what `use` made of them, in order, comes through the future."""
        ...

    def close(self) -> None:
        """Let go of threads and connections. What is submitted after is never done."""
        ...


class WholeReads:
    """Every range comes as a whole."""

    def __init__(self, fs: fsspec.AbstractFileSystem, threads: Threads) -> None:
        self._fs, self._threads = fs, threads

    def submit(self, path: str, edges: Sequence[int], use: Use[T]) -> "Future[list[T]]":
        """As `Reads`. The future has what the file system raises, or OSError for a short answer."""
        return self._threads.submit(self._read, path, edges, use)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _read(self, path: str, edges: Sequence[int], use: Use[T]) -> list[T]:
        # By name: what comes second is a version with some file systems.
        data = self._fs.cat_file(path, start=edges[0], end=edges[-1])
        if len(data) != edges[-1] - edges[0]:
            raise OSError(f"{len(data)} bytes came of {edges[-1] - edges[0]}")
        return in_pieces(memoryview(data), edges, use)


def in_pieces(data: memoryview, edges: Sequence[int], use: Use[T]) -> list[T]:
    """What `use` makes of each piece of bytes edges[0] <= i < edges[-1] of a file."""
    first = edges[0]
    return [use(a, data[a - first : b - first]) for a, b in itertools.pairwise(edges)]
