"""Processes that decode pictures for the models of one process, kept from part to part."""

import atexit
import contextlib
import os
import pickle
import queue
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from pipeline.core.errors import EnvironmentProblem
from pipeline.core.wire import read_frame, write_frame
from pipeline.score.looks import Asked, Looked, Looker

_START_S = 120.0
# No picture takes as long; one that does ends the task, which is tried again.
_ANSWER_S = 120.0
# Pictures of a frame: some 10 ms of work.
_TOGETHER = 4


class _Process:
    """One process. Not for use by two threads at once."""

    def __init__(self, looker: Looker) -> None:
        ours, theirs = socket.socketpair()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.score.worker"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        self._socket = ours
        ours.settimeout(_START_S)
        with contextlib.suppress(OSError):  # the first answer tells
            write_frame(ours, pickle.dumps(replace(looker)))  # without what it has loaded

    def look(self, batch: Sequence[Asked]) -> list[Looked | None]:
        """Decode some pictures. Raises EnvironmentProblem when the process ended or hangs."""
        try:
            write_frame(self._socket, pickle.dumps(batch))
            answer = read_frame(self._socket)
        except (OSError, EOFError):
            answer = None
        if answer is None:
            raise EnvironmentProblem(f"a process that decodes pictures {self.close()}")
        self._socket.settimeout(_ANSWER_S)
        found: list[Looked | None] = pickle.loads(answer)
        return found

    def close(self) -> str:
        """End the process and wait for it; how it ended."""
        self._socket.close()
        hangs = self._process.poll() is None
        self._process.kill()
        code = self._process.wait()
        return f"gave no answer for {_ANSWER_S:g} s" if hangs else f"ended with status {code}"


class InProcesses:
    """Decoding in processes, each behind a thread: `Looking`. They start when first needed."""

    def __init__(self, looker: Looker, processes: int) -> None:
        self.looker, self.processes = looker, processes
        self._threads = ThreadPoolExecutor(processes, "decode")
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._all: list[_Process] = []

    def start(self, batch: Sequence[Asked]) -> Callable[[], list[Looked | None]]:
        """As `Looking.start`. What it returns raises EnvironmentProblem when a process ended."""
        some = [batch[i : i + _TOGETHER] for i in range(0, len(batch), _TOGETHER)]
        looks: list[Future[list[Looked | None]]] = [
            self._threads.submit(self._look, s) for s in some
        ]
        return lambda: [looked for look in looks for looked in look.result()]

    def _look(self, batch: Sequence[Asked]) -> list[Looked | None]:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _Process(self.looker)
            self._all.append(process)
        found = process.look(batch)
        self._idle.put(process)
        return found

    def close(self) -> None:
        """End all processes; those that are decoding too."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._all:
            process.close()
        self._all.clear()


_kept: list[InProcesses] = []


def shared(looker: Looker, processes: int) -> InProcesses:
    """Those of this process: one start serves all its parts, while they ask the same."""
    if not _kept or (_kept[0].looker, _kept[0].processes) != (looker, processes):
        close_shared()
        _kept.append(InProcesses(looker, processes))
    return _kept[0]


@atexit.register
def close_shared() -> None:
    """End them."""
    while _kept:
        _kept.pop().close()
