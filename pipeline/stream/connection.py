"""A connection to a server of HTTP that ranges are asked of, one at a time, without waiting."""

import re
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult

from pipeline.stream.reads import Use

_HEAD_BYTES = 16 << 10
# What buffers start with, and what they are not kept over.
_LEAST_BYTES, _KEPT_BYTES = 512 << 10, 4 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Connection:
    """Receives the pieces of a range into memory that all connections use again, the latest used
    first: what comes is still in the processor's cache when it is used.

    connected: a socket that does not block. buffers: memory free to be used.
    is_last: nothing more can be asked of it. used: what came of the pieces that are complete.
    since: when it was asked or something came, by time.monotonic.
    """

    def __init__(self, connected: socket.socket, netloc: str, buffers: list[bytearray]) -> None:
        self._socket, self.netloc, self._buffers = connected, netloc, buffers
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        self._buffer: bytearray | None = None
        # What has come and is not used yet lies at start <= i < start + have of the buffer.
        self._start = self._have = 0
        self._edges: Sequence[int] = ()
        self._use: Use[Any] | None = None
        self._in_head = False
        self.is_last, self.since = False, 0.0
        self.used: list[Any] = []

    def fileno(self) -> int:
        """The socket's, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def is_open(self) -> bool:
        """Whether a connection of which nothing is asked can still be used, though something came:
        of TLS's own, for one, or the end."""
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False  # closed, or what nobody asked for

    def ask(self, url: SplitResult, edges: Sequence[int], use: Use[Any]) -> None:
        """Ask for the range of these pieces. Raises OSError."""
        self._edges, self._use, self._in_head, self.used = edges, use, True, []
        target = f"{url.path}?{url.query}" if url.query else url.path
        lines = (
            f"GET {target} HTTP/1.1",
            f"Host: {url.netloc}",
            f"Range: bytes={edges[0]}-{edges[-1] - 1}",
            "Accept-Encoding: identity",
            "\r\n",
        )
        self._wake_at(1)
        self._socket.sendall("\r\n".join(lines).encode("ascii"))
        self.since = time.monotonic()

    def receive(self) -> bool:
        """Take what has come; whether that was all of the range.

        Raises OSError where it is anything else than the range, and whatever `use` raises.
        """
        self.since = time.monotonic()
        try:
            if self._in_head:
                self._receive_head()
            while len(self.used) < len(self._edges) - 1:
                self._receive_piece()
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        self._give_back()
        return True

    def _receive_head(self) -> None:
        ends = -1
        while ends < 0:
            self._receive_to(_HEAD_BYTES)
            ends = self._memory(0).find(b"\r\n\r\n", 0, self._have)
        head = bytes(self._memory(0)[: ends + 4])
        length, size = _LENGTH.search(head), self._edges[-1] - self._edges[0]
        if not head.startswith(b"HTTP/1.1 206 ") or length is None or int(length[1]) != size:
            raise OSError("what came is not the range")
        self.is_last = bool(_CLOSE.search(head))
        self._start, self._have, self._in_head = len(head), self._have - len(head), False

    def _receive_piece(self) -> None:
        start, end = self._edges[len(self.used)], self._edges[len(self.used) + 1]
        size = end - start
        while self._have < size:
            try:
                self._receive_to(size)
            except BlockingIOError:
                self._wake_at(size - self._have)
                raise
        piece = memoryview(self._memory(size))[self._start : self._start + size]
        assert self._use is not None
        self.used.append(self._use(start, piece))
        self._start, self._have = self._start + size, self._have - size
        if not self._have:
            self._give_back()

    def _receive_to(self, size: int) -> None:
        """Receive until so much is there, or some of it."""
        room = memoryview(self._memory(size))[self._start + self._have : self._start + size]
        came = self._socket.recv_into(room) if room else 0
        if not came:
            raise OSError("what came ended early")
        self._have += came

    def _memory(self, size: int) -> bytearray:
        """The buffer, with room for so much from the start of what has come."""
        if self._buffer is None:
            self._buffer = self._buffers.pop() if self._buffers else bytearray(_LEAST_BYTES)
        if self._start + size > len(self._buffer):
            come = self._buffer[self._start : self._start + self._have]
            self._buffer, self._start = bytearray(max(size, _LEAST_BYTES)), 0
            self._buffer[: len(come)] = come
        return self._buffer

    def _give_back(self) -> None:
        """Let others use the buffer. What is left in it was not asked for."""
        self.is_last |= self._have > 0 and len(self.used) == len(self._edges) - 1
        if self._buffer is not None and len(self._buffer) <= _KEPT_BYTES:
            self._buffers.append(self._buffer)
        self._buffer, self._start, self._have = None, 0, 0

    def _wake_at(self, size: int) -> None:
        """Not be told of less than so many bytes: each waking costs as much as some samples."""
        if not self._is_tls:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
