"""What a task and the process that reads archives for it say to each other."""

import mmap
import os
import tempfile
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pipeline.extract.inflate import INNER, OFFSET, STEPS, note
from pipeline.extract.members import Place

_WAITING = 3  # the cell behind those of a watch


class Limits(msgspec.Struct, frozen=True):
    """What reading one archive may cost.

    max_tries: of reads of remote storage without progress. max_gap_bytes: read rather than skipped
    between ranges. timeout_s: for one record. memory_bytes: beyond what the process needs to start.
    """

    max_record_bytes: int = 32 << 20
    max_links_per_page: int = 10_000
    batch_rows: int = 8192
    read_block_bytes: int = 8 << 20
    max_tries: int = 8
    max_gap_bytes: int = 1 << 20
    timeout_s: float = 60.0
    memory_bytes: int = 600 << 20


class Start(msgspec.Struct, frozen=True):
    """The first frame. reader: the module that has PairRows, read_rows and warm_up. environment:
    names and values; the task's may have changed since the template started."""

    limits: Limits
    reader: str
    environment: list[tuple[bytes, bytes]]


class Job(msgspec.Struct):
    """One archive, or what is left of it.

    ranges: (offset, length) of the records wanted, by offset; None for all. after: the last record
    that is accounted for. crashed: records not to be parsed, members not to be inflated where inner
    is READING_MEMBER; each is counted. careful_until: pages are read one by one up to this offset,
    because the process died on the way to it and the page at fault is to be told.
    """

    archive: str
    ranges: list[tuple[int, int]] | None = None
    after: tuple[int, int] | None = None
    crashed: list[tuple[int, int]] = []
    careful_until: int = -1


class Answer(msgspec.Struct):
    """A step of a job; a frame with an Arrow stream of one batch follows where has_rows.

    after: the last record that is accounted for. accounts: what was counted since the answer
    before, in JSON form. is_done: it was the last one. error: why the archive cannot be read.
    crash: why the process ends now.
    """

    after: tuple[int, int] | None = None
    accounts: list[dict[str, Any]] = []
    has_rows: bool = False
    is_done: bool = False
    error: str = ""
    crash: str = ""


class Note(NamedTuple):
    """steps: notes of the present job so far; 0 before the first. is_waiting: for the file, or for
    the task to take rows."""

    steps: int
    place: Place
    is_waiting: bool


class Notes:
    """What a process is at, in memory that survives it. Writing one costs no system call.

    watch: int64 [4], cells as of `inflate.new_watch`, which reading writes to by itself.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(mmap.PAGESIZE)
                descriptor = os.dup(file.fileno())
        self.descriptor = descriptor
        memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.watch = np.frombuffer(memory, np.int64, 4)

    def clear(self) -> None:
        """Before a job."""
        self.watch[:] = 0

    def write(self, offset: int, inner: int) -> None:
        """The record that is turned to, or the last one of several."""
        note(self.watch, offset, inner)

    def wait(self, is_waiting: bool) -> None:
        """Whether the process waits for others."""
        self.watch[_WAITING] = is_waiting

    def read(self) -> Note:
        """The last note."""
        cells = self.watch.tolist()
        return Note(cells[STEPS], Place(cells[OFFSET], cells[INNER]), bool(cells[_WAITING]))

    def close(self) -> None:
        """Forget the memory on this side."""
        os.close(self.descriptor)
