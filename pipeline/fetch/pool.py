"""Decoder processes as the fetcher sees them: give a body, get a picture, whatever happens."""

import atexit
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from pipeline.core.errors import EnvironmentProblem
from pipeline.core.reasons import Status
from pipeline.core.wire import read_frame, write_frame
from pipeline.fetch.picture import DecodeSettings, Picture
from pipeline.fetch.worker import Start

_START_S = 120.0
# How much longer than its own alarm a decoder is waited for.
_GRACE_S = 5.0
_KEPT_BYTES = str(32 * 2**20)


# Room for a whole picture in the socket, so that it crosses in one call.
_SOCKET_BYTES = 2**20


class Untouched(Exception):
    """A decoder ended before it had taken the picture: the picture is not to blame."""


class DecoderProcess:
    """One decoder process. Not for use by two threads at once."""

    def __init__(self, start: Start) -> None:
        self._timeout_s = start.timeout_s + _GRACE_S
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        # One thread per process: the parts of a job already use every core.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # Keep what one picture used for the next, in place of asking the kernel for it anew.
            "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
            "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.fetch.worker"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        self._socket = ours
        ours.settimeout(_START_S)
        try:
            write_frame(ours, msgspec.msgpack.encode(start))
            ready = read_frame(ours)
        except (OSError, EOFError):
            ready = None
        if ready != b"ready":
            self.close()
            raise EnvironmentProblem(
                f"the decoder process does not start: {sys.executable} -m pipeline.fetch.worker"
            )
        ours.settimeout(self._timeout_s)

    def decode(self, body: bytes) -> Picture:
        """Decode one body. Raises Untouched when the process ended before it had taken the body;
        OSError, EOFError or msgspec.MsgspecError when it ended, or hung, with it."""
        try:
            write_frame(self._socket, body)
            answer = read_frame(self._socket)
        # The kernel says "reset", not "end of file", of a peer that left bytes unread.
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Untouched from error
        if answer is None:
            raise EOFError("the decoder died")
        return msgspec.msgpack.decode(answer, type=Picture)

    def close(self) -> str:
        """End the process and wait for it; how it ended."""
        self._socket.close()
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        return "over its time" if code == -signal.SIGALRM else f"exit status {code}"


class DecoderPool:
    """A few decoder processes, each behind a thread. They start when first needed and are replaced
    when they die or hang: the picture that did it gets status `decode`. One that died while idle
    (the system was out of memory) costs no picture."""

    def __init__(
        self, settings: DecodeSettings, workers: int, timeout_s: float, memory_bytes: int
    ) -> None:
        self._start = Start(settings, memory_bytes, timeout_s)
        self._threads = ThreadPoolExecutor(workers, "decode")
        self._idle: queue.SimpleQueue[DecoderProcess] = queue.SimpleQueue()
        self._all: list[DecoderProcess] = []

    def submit(self, body: bytes) -> "Future[Picture]":
        """Decode a body; the future raises only EnvironmentProblem."""
        return self._threads.submit(self._decode, body)

    def _decode(self, body: bytes) -> Picture:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = self._started()
        try:
            picture = self._decoded_by(process, body)
        except Untouched:
            try:
                picture = self._decoded_by(self._started(), body)
            except Untouched:  # a fresh one too: then it may be the picture after all
                picture = Picture(Status.DECODE, "the decoder died twice")
        return picture

    def _started(self) -> DecoderProcess:
        process = DecoderProcess(self._start)
        self._all.append(process)
        return process

    def _decoded_by(self, process: DecoderProcess, body: bytes) -> Picture:
        try:
            picture = process.decode(body)
        except Untouched:
            self._end(process)
            raise
        except (OSError, EOFError, msgspec.MsgspecError):
            return Picture(Status.DECODE, f"the decoder died: {self._end(process)}")
        self._idle.put(process)
        return picture

    def _end(self, process: DecoderProcess) -> str:
        self._all.remove(process)
        return process.close()

    def close(self) -> None:
        """End all processes; those that are decoding too."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._all):
            with contextlib.suppress(OSError):
                process.close()
        self._all.clear()


_pools: dict[tuple[DecodeSettings, int, float, int], DecoderPool] = {}


def shared_pool(
    settings: DecodeSettings, workers: int, timeout_s: float, memory_bytes: int
) -> DecoderPool:
    """The pool of this process for these settings: one start serves all parts it works on."""
    key = (settings, workers, timeout_s, memory_bytes)
    if key not in _pools:
        _pools[key] = DecoderPool(*key)
    return _pools[key]


@atexit.register
def close_pools() -> None:
    """End the decoder processes of this process."""
    while _pools:
        _pools.popitem()[1].close()
