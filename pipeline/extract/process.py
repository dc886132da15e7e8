"""The task's side of its reading processes, and of the process that they are forked from."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec
import pyarrow as pa

from pipeline.core.errors import EnvironmentProblem
from pipeline.core.wire import read_frame, write_frame
from pipeline.extract.task import Answer, Job, Limits, Notes, Start

_START_S = 900.0  # kernels that are not on disk yet are compiled first
_POLL_S = 0.5
# How long a frame that has begun may take to arrive whole.
_FRAME_S = 120.0
# A record for which the process does nothing at all may take so many times its limit.
_IDLE_FACTOR = 5
_END_S = 5.0
_SETTINGS = {
    b"OMP_NUM_THREADS": b"1",
    b"OPENBLAS_NUM_THREADS": b"1",
    # Allocators that reserve gigabytes would take up the limit on memory.
    b"ARROW_DEFAULT_MEMORY_POOL": b"system",
    b"MALLOC_ARENA_MAX": b"2",
    # Arrow's other allocator would run a thread all the same.
    b"JE_ARROW_MALLOC_CONF": b"background_thread:false",
}


class Died(Exception):
    """The process ended, or had to be ended; the text says how."""


class _Template:
    """A process that has loaded all that reading takes, and forks; see `extract.template`."""

    def __init__(self, reader: str, path: str) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.extract.template", str(theirs.fileno()), reader],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environb | _SETTINGS | {b"PYTHONPATH": os.fsencode(path)},
                pass_fds=[theirs.fileno()],
            )
        self._control.settimeout(_START_S)
        try:
            is_ready = read_frame(self._control) == b"ready"
        except (OSError, EOFError):
            is_ready = False
        if not is_ready:
            self.end()
            raise EnvironmentProblem(
                "the reading process does not start: "
                f"{sys.executable} -m pipeline.extract.template 0 {reader}"
            )

    def fork(self, connection: socket.socket, notes: Notes, life: socket.socket) -> None:
        """Have a process forked that gets these. Raises OSError when the template is gone."""
        folder = os.open(".", os.O_PATH)  # has no name any more where it was removed
        try:
            given = [connection.fileno(), notes.descriptor, life.fileno(), folder]
            socket.send_fds(self._control, [b"f"], given)
        finally:
            os.close(folder)

    def end(self) -> None:
        """End it and what it forked."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_S)
        self.process.kill()
        self.process.wait()


_templates: dict[tuple[str, str], _Template] = {}
_lock = threading.Lock()


def _template(reader: str) -> _Template:
    """The living template of this process for a reader and the present sys.path."""
    path = os.pathsep.join(p for p in sys.path if p)
    with _lock:
        found = _templates.get((reader, path))
        if found is not None and found.process.poll() is not None:
            found.end()
            found = None
        if found is None:
            _templates.pop((reader, path), None)
            found = _templates[reader, path] = _Template(reader, path)
        return found


def end_templates() -> None:
    """End the templates of this process, and with them all its reading processes."""
    while _templates:
        _templates.popitem()[1].end()


class Process:
    """One reading process.

    pid: while it is not closed. reader: the module that has PairRows, read_rows and warm_up.
    """

    def __init__(self, limits: Limits, reader: str) -> None:
        self._timeout_s = limits.timeout_s
        self.notes = Notes()
        self._how = ""
        environment = list((os.environb | _SETTINGS).items())
        start = msgspec.msgpack.encode(Start(limits, reader, environment))
        # The second try is for a template that dies just now.
        if not self._start(reader, start) and not self._start(reader, start):
            self.notes.close()
            raise EnvironmentProblem(
                "the reading process does not start: it, or what it is forked from, ends at once"
            )

    def _start(self, reader: str, start: bytes) -> bool:
        template = _template(reader)
        self._socket, theirs = socket.socketpair()
        self._life, life = socket.socketpair()
        self._socket.settimeout(_FRAME_S)
        try:
            with theirs, life:
                template.fork(theirs, self.notes, life)
            write_frame(self._socket, start)
            self.pid = int(read_frame(self._socket) or b"")
        except (OSError, EOFError, ValueError):
            self._socket.close()
            self._life.close()
            template.end()
            return False
        return True

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended, by itself or with its template."""
        return bool(self._how or select.select([self._life], [], [], 0)[0])

    def send(self, job: Job) -> None:
        """Give it a job. Raises Died."""
        self.notes.clear()
        try:
            write_frame(self._socket, msgspec.msgpack.encode(job))
        except OSError:
            raise Died(self.close()) from None

    def receive(self) -> tuple[Answer, pa.RecordBatch | None]:
        """The next answer and its rows. Raises Died."""
        self._wait()
        try:
            frame = read_frame(self._socket)
            if frame is None:
                raise EOFError
            answer = msgspec.msgpack.decode(frame, type=Answer)
            rows = read_frame(self._socket) if answer.has_rows else None
        except (OSError, EOFError, msgspec.MsgspecError):
            raise Died(self.close()) from None
        if answer.crash:
            self.close()
            raise Died(answer.crash)
        return answer, pa.ipc.open_stream(rows).read_next_batch() if rows else None

    def _wait(self) -> None:
        """Until something arrives, or it gets nowhere with a record for too long: in processor
        time, so that a crowded machine is no reason to blame a record, or in much more time."""
        seen, since, used = self.notes.read().steps, time.monotonic(), self._processor_s()
        while not select.select([self._socket], [], [], min(_POLL_S, self._timeout_s / 4))[0]:
            note, now = self.notes.read(), time.monotonic()
            if note.is_waiting or note.steps != seen:
                seen, since, used = note.steps, now, self._processor_s()
            elif now - since > self._timeout_s and (
                now - since > _IDLE_FACTOR * self._timeout_s
                or self._processor_s() - used > self._timeout_s
            ):
                self.close()
                raise Died(f"no end after {self._timeout_s:g} s")

    def _processor_s(self) -> float:
        """Processor time of the process so far; 0 when it is gone."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="latin-1") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> str:
        """End the process and wait for it; how it ended. The notes can be read afterwards."""
        if self._how:
            return self._how
        self._socket.close()
        with self._life:
            if not select.select([self._life], [], [], 0.2)[0]:
                self._life.shutdown(socket.SHUT_WR)  # the template kills it
            try:
                told = self._life.recv(16)
            except OSError:
                told = b""
        if not told:  # the kernel has killed it then
            self._how = "its template died"
        elif (code := int(told)) < 0:
            self._how = f"killed by {signal.Signals(-code).name}"
        else:
            self._how = f"exit status {code}"
        return self._how
