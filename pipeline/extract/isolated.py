"""Archives read in a process of their own: a record that crashes the parser costs itself.

The process notes each record before it turns to it. When it dies, runs out of memory or gets
nowhere, that record is counted as CRASHED and a new process goes on behind the last rows that
arrived: nothing is lost and nothing comes twice.
"""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from select import select

import msgspec
import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.errors import EnvironmentProblem, InputError
from pipeline.core.wire import read_frame, write_frame
from pipeline.extract.inflate import READING_MEMBER
from pipeline.extract.task import Answer, Job, Limits, Notes, Start

_START_S = 900.0  # kernels that are not on disk yet are compiled first
_POLL_S = 0.5
# How long a frame that has begun may take to arrive whole.
_FRAME_S = 120.0
# A record for which the process does nothing at all may take so many times its limit.
_IDLE_FACTOR = 5
READER = "pipeline.extract.rows"


class _Died(Exception):
    """The process ended, or had to be ended; the text says how."""


class _Process:
    """One reading process."""

    def __init__(self, limits: Limits, reader: str) -> None:
        self._timeout_s = limits.timeout_s
        self.notes = Notes()
        ours, theirs = socket.socketpair()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # Allocators that reserve gigabytes would take up the limit on memory.
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.extract.worker", str(self.notes.descriptor)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=[self.notes.descriptor],
        )
        theirs.close()
        self._socket = ours
        ours.settimeout(_START_S)
        try:
            write_frame(ours, msgspec.msgpack.encode(Start(limits, reader)))
            ready = read_frame(ours)
        except (OSError, EOFError):
            ready = None
        if ready != b"ready":
            self.close()
            raise EnvironmentProblem(
                f"the reading process does not start: {sys.executable} -m pipeline.extract.worker"
            )
        ours.settimeout(_FRAME_S)

    def send(self, job: Job) -> None:
        """Give it a job. Raises _Died."""
        self.notes.clear()
        try:
            write_frame(self._socket, msgspec.msgpack.encode(job))
        except OSError:
            raise _Died(self.close()) from None

    def receive(self) -> tuple[Answer, pa.RecordBatch | None]:
        """The next answer and its rows. Raises _Died."""
        self._wait()
        try:
            frame = read_frame(self._socket)
            if frame is None:
                raise EOFError
            answer = msgspec.msgpack.decode(frame, type=Answer)
            rows = read_frame(self._socket) if answer.has_rows else None
        except (OSError, EOFError, msgspec.MsgspecError):
            raise _Died(self.close()) from None
        if answer.crash:
            self.close()
            raise _Died(answer.crash)
        return answer, pa.ipc.open_stream(rows).read_next_batch() if rows else None

    def _wait(self) -> None:
        """Until something arrives, or it gets nowhere with a record for too long: in processor
        time, so that a crowded machine is no reason to blame a record, or in much more time."""
        seen, since, used = self.notes.read().steps, time.monotonic(), self._processor_s()
        while not select([self._socket], [], [], min(_POLL_S, self._timeout_s / 4))[0]:
            note, now = self.notes.read(), time.monotonic()
            if note.is_waiting or note.steps != seen:
                seen, since, used = note.steps, now, self._processor_s()
            elif now - since > self._timeout_s and (
                now - since > _IDLE_FACTOR * self._timeout_s
                or self._processor_s() - used > self._timeout_s
            ):
                self.close()
                raise _Died(f"no end after {self._timeout_s:g} s")

    def _processor_s(self) -> float:
        """Processor time of the process so far; 0 when it is gone."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="latin-1") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> str:
        """End the process and wait for it; how it ended. The notes can be read afterwards."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"


class IsolatedReader:
    """Reads archives one after the other, in a process that starts when it is first needed and is
    replaced when it dies. Not for two threads at once."""

    def __init__(self, limits: Limits, max_crashes: int, reader: str = READER) -> None:
        self._limits = limits
        self._max_crashes = max_crashes
        self._reader = reader
        self._process: _Process | None = None

    def read(
        self,
        archive: str,
        accounts: list[Account],
        ranges: list[tuple[int, int]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of PAIRS of an archive, or of its records at some ranges.

        accounts: of records, links and pairs; what is counted is added. Raises InputError that
        names the archive when it cannot be read, or crashes the parser more than `max_crashes`
        times.
        """
        job = Job(archive, ranges)
        while True:
            try:
                yield from self._read(job, accounts)
                return
            except _Died as death:
                self._blame(job, str(death))

    def _read(self, job: Job, accounts: list[Account]) -> Iterator[pa.RecordBatch]:
        if self._process is None:
            self._process = _Process(self._limits, self._reader)
        process = self._process
        is_done = False
        try:
            process.send(job)
            while not is_done:
                answer, batch = process.receive()
                if answer.error:
                    is_done = True
                    raise InputError(_named(job.archive, answer.error))
                job.after = answer.after
                for account, new in zip(accounts, answer.accounts, strict=True):
                    account.add(Account.from_json(new))
                if batch is not None:
                    yield batch
                is_done = answer.is_done
        except _Died:
            raise
        except BaseException:
            if not is_done:
                self.close()  # what it still sends belongs to nothing
            raise

    def _blame(self, job: Job, how: str) -> None:
        """Note the record that the process died of, or have it found."""
        assert self._process is not None
        note = self._process.notes.read()
        self.close()
        what = f"archive {job.archive}: the parser died ({how})"
        if not note.steps:
            raise InputError(f"{what} before the first record")
        place = tuple(note.place)
        if place[0] > job.careful_until and place[1] != READING_MEMBER:
            # Pages are read many at a time: any one since the last answer may be at fault.
            job.careful_until = place[0]
            return
        if place in job.crashed:
            raise InputError(f"{what} at byte {place[0]}, which had been left out for that")
        job.crashed = [*job.crashed, (place[0], place[1])]
        if len(job.crashed) > self._max_crashes:
            raise InputError(
                f"{what} at byte {place[0]}: more than extract.max_crashes = {self._max_crashes} "
                "records of this archive; look for the cause, or raise the bound"
            )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.close()
            process.notes.close()


def _named(archive: str, error: str) -> str:
    return error if archive in error else f"archive {archive} cannot be read: {error}"


_readers: dict[tuple[Limits, int, str], IsolatedReader] = {}


def shared_reader(limits: Limits, max_crashes: int, reader: str = READER) -> IsolatedReader:
    """The reader of this process for these limits: one start serves all archives it reads."""
    key = (limits, max_crashes, reader)
    if key not in _readers:
        _readers[key] = IsolatedReader(*key)
    return _readers[key]


@atexit.register
def close_readers() -> None:
    """End the reading processes of this process."""
    while _readers:
        _readers.popitem()[1].close()
