"""Ranges of S3 objects by plain HTTP: signed once for an object by s3fs, received by one thread.

s3fs makes every request on one event loop, at some 4 ms of CPU for a range of 1 MB; asking for a
presigned URL over a kept connection takes some 0.5 ms, most of it the kernel's. Which credentials,
endpoint and addressing apply is s3fs's to say, so that nothing is set here. What is not answered as
it should be (a moved bucket, throttling, expired credentials) is asked again through s3fs, which
knows what to do.

One thread receives from all connections and uses what comes. With a thread for each, Python's lock
goes from core to core with every piece, and the same work takes half as much time again.
"""

import os
import selectors
import socket
import ssl
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pipeline.stream.connection import Connection
from pipeline.stream.reads import T, Use, WholeReads
from pipeline.stream.threads import Threads

# A signed URL is used for half its life.
_LIFE_S = 3600
# A connection on which nothing comes for so long is given up.
_TIMEOUT_S = 60
_TICK_S = 1.0
# Names that botocore and requests have for the file of certificates to trust.
_CA_FILES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


class _Signed(NamedTuple):
    url: SplitResult
    until: float


@dataclass(frozen=True)
class _Job:
    """A range that is wanted."""

    path: str
    url: SplitResult
    edges: Sequence[int]
    use: Use[Any]
    future: "Future[list[Any]]"


class SignedReads:
    """Reads ranges of objects that an s3fs file system can read, up to `connections` at a time."""

    def __init__(self, fs: Any, connections: int) -> None:
        self._fs, self._limit = fs, connections
        self._signed: dict[str, _Signed] = {}
        self._context: ssl.SSLContext | None = None
        # For what takes long: connecting, and asking through s3fs.
        self._threads = Threads(connections, "range")
        self._by_s3fs = WholeReads(fs, self._threads)
        # Of these two all threads may add to the one end; the rest is the receiving thread's.
        self._wanted: deque[_Job] = deque()
        self._opened: deque[Connection | None] = deque()
        self._busy: dict[Connection, _Job] = {}
        self._idle: list[Connection] = []
        self._buffers: list[bytearray] = []
        self._opening, self._open_from = 0, 0.0
        self._closed = self._sleeps = False
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        threading.Thread(target=self._serve, name="receive", daemon=True).start()

    def submit(self, path: str, edges: Sequence[int], use: Use[T]) -> "Future[list[T]]":
        """As `Reads`. The future has FileNotFoundError, or OSError as s3fs raises it; no message
        holds a signed URL."""
        future: Future[list[T]] = Future()
        self._wanted.append(_Job(path, self._url(path), edges, use, future))
        self._wake_up()
        return future

    def close(self) -> None:
        """Close the connections and end the threads."""
        self._closed = True
        self._wake_up()
        self._threads.close()

    def _wake_up(self) -> None:
        if self._sleeps:
            self._sleeps = False
            with suppress(OSError):  # closed
                self._wake.send(b"\0")

    def _url(self, path: str) -> SplitResult:
        signed = self._signed.get(path)
        if signed is None or time.monotonic() > signed.until:
            url = urlsplit(self._fs.sign(path, expiration=_LIFE_S))
            signed = self._signed[path] = _Signed(url, time.monotonic() + _LIFE_S / 2)
        return signed.url

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._woken, selectors.EVENT_READ)
        self._selector = selector
        silent_from = time.monotonic()
        while not self._closed:
            # Said before it is looked whether there is something to do, so that nothing is missed.
            self._sleeps = True
            idle = not self._opened and not (self._wanted and (self._idle or self._may_open()))
            events = selector.select(_TICK_S if idle else 0)
            self._sleeps = False
            for key, _ in events:
                if isinstance(key.fileobj, Connection):
                    self._receive(key.fileobj)
                else:
                    self._woken.recv(4096)
            while self._opened:
                self._take(self._opened.popleft())
            while self._wanted and self._idle:
                self._start(self._wanted.popleft(), self._idle.pop())
            while self._may_open():
                self._opening += 1
                self._threads.submit(self._connect, self._wanted[0].url)
            if time.monotonic() > silent_from + _TICK_S:
                silent_from = time.monotonic()
                self._end_silent(silent_from)
        for connection in [*self._busy, *self._idle, *self._opened]:
            if connection is not None:
                connection.close()
        selector.close()
        self._woken.close()
        self._wake.close()

    def _may_open(self) -> bool:
        """Whether there is more to do than connections that are being opened, and room for one.
        What is wanted is not bound to one that is being opened: that can take long."""
        return (
            len(self._wanted) > self._opening
            and len(self._busy) + len(self._idle) + self._opening < self._limit
            and time.monotonic() >= self._open_from
        )

    def _take(self, connection: Connection | None) -> None:
        """A connection that has been opened; None for one that could not be."""
        self._opening -= 1
        if connection is not None:
            self._selector.register(connection, selectors.EVENT_READ)
            self._idle.append(connection)
            return
        self._open_from = time.monotonic() + _TICK_S
        if not self._busy and not self._idle and not self._opening:
            while self._wanted:
                job = self._wanted.popleft()
                if job.future.set_running_or_notify_cancel():
                    self._ask_s3fs(job)

    def _start(self, job: _Job, connection: Connection) -> None:
        if connection.netloc != job.url.netloc:
            self._drop(connection)
            self._wanted.appendleft(job)
        elif job.future.set_running_or_notify_cancel():
            self._ask(connection, job)
        else:
            self._idle.append(connection)

    def _ask(self, connection: Connection, job: _Job) -> None:
        self._busy[connection] = job
        try:
            connection.ask(job.url, job.edges, job.use)
        except Exception:  # noqa: BLE001 - s3fs meets it too, and tells
            self._give_up(connection)

    def _receive(self, connection: Connection) -> None:
        job = self._busy.get(connection)
        if job is None:
            if not connection.is_open():
                self._idle.remove(connection)
                self._drop(connection)
            return
        try:
            if not connection.receive():
                return
        except OSError:
            self._give_up(connection)
            return
        except BaseException as error:  # noqa: BLE001 - the future carries it to who waits
            self._drop(connection)
            job.future.set_exception(error)
            return
        del self._busy[connection]
        if connection.is_last:
            self._drop(connection)
        else:
            self._idle.append(connection)
        job.future.set_result(connection.used)

    def _end_silent(self, now: float) -> None:
        for connection in [c for c in self._busy if now - c.since > _TIMEOUT_S]:
            self._give_up(connection)

    def _give_up(self, connection: Connection) -> None:
        """A connection that does not give what it was asked for."""
        job = self._busy[connection]
        self._drop(connection)
        self._ask_s3fs(job)

    def _drop(self, connection: Connection) -> None:
        self._busy.pop(connection, None)
        self._selector.unregister(connection)
        connection.close()

    def _ask_s3fs(self, job: _Job) -> None:
        self._signed.pop(job.path, None)
        done = self._by_s3fs.submit(job.path, job.edges, job.use)
        done.add_done_callback(lambda done: _hand_on(done, job.future))

    def _connect(self, url: SplitResult) -> None:
        connection: Connection | None
        try:
            connection = Connection(self._connected(url), url.netloc, self._buffers)
        except Exception:  # noqa: BLE001 - whatever it is, s3fs meets it too, and tells
            connection = None
        self._opened.append(connection)
        self._wake_up()

    def _connected(self, url: SplitResult) -> socket.socket:
        """A connection to a host. Raises OSError where there is none or a proxy is to be used."""
        host = url.hostname or ""
        if url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
            raise OSError(f"{host} is behind a proxy")
        port = url.port or (443 if url.scheme == "https" else 80)
        connected = socket.create_connection((host, port), timeout=_TIMEOUT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            if self._context is None:
                given = next((os.environ[name] for name in _CA_FILES if name in os.environ), None)
                self._context = ssl.create_default_context(cafile=given)
            connected = self._context.wrap_socket(connected, server_hostname=host)
        connected.setblocking(False)
        return connected


def _hand_on(done: "Future[list[Any]]", future: "Future[list[Any]]") -> None:
    error = done.exception()
    if error is None:
        future.set_result(done.result())
    else:
        future.set_exception(error)
