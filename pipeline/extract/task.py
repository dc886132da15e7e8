"""What a task and the process that reads archives for it say to each other."""

import mmap
import os
import struct
import tempfile
from typing import Any, NamedTuple

import msgspec

from pipeline.extract.members import Place

_FORM = struct.Struct("<qqqq")
# In place of `inner` while a member is inflated: no record of it is there yet.
READING_MEMBER = -1


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
    """The first frame. reader: the module that has PairRows, read_rows and warm_up."""

    limits: Limits
    reader: str


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
    """What a process is at, in memory that survives it. Writing one costs no system call."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(mmap.PAGESIZE)
                descriptor = os.dup(file.fileno())
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._steps = self._waiting = 0
        self._place = Place(0, 0)

    def clear(self) -> None:
        """Before a job."""
        self._steps = self._waiting = 0
        _FORM.pack_into(self._memory, 0, 0, 0, 0, 0)

    def write(self, offset: int, inner: int) -> None:
        """The record, or with READING_MEMBER the member, that is turned to."""
        self._steps += 1
        self._place = Place(offset, inner)
        _FORM.pack_into(self._memory, 0, self._steps, offset, inner, self._waiting)

    def wait(self, is_waiting: bool) -> None:
        """Whether the process waits for others."""
        self._waiting = int(is_waiting)
        _FORM.pack_into(self._memory, 0, self._steps, *self._place, self._waiting)

    def read(self) -> Note:
        """The last note."""
        steps, offset, inner, waiting = _FORM.unpack_from(self._memory, 0)
        return Note(steps, Place(offset, inner), bool(waiting))

    def close(self) -> None:
        """Forget the memory on this side."""
        self._memory.close()
        os.close(self.descriptor)
