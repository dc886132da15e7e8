"""Ranges of S3 objects by plain HTTP: signed once for an object by s3fs, asked for by threads.

s3fs makes every request on one event loop, at some 4 ms of CPU for a range of 1 MB; asking for a
presigned URL over a kept connection takes some 1 ms, most of it the kernel's. Which credentials,
endpoint and addressing apply is s3fs's to say, so that nothing is set here. What is not answered as
it should be (a moved bucket, throttling, expired credentials) is asked again through s3fs, which
knows what to do.
"""

import os
import re
import socket
import ssl
import struct
import threading
import time
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

# A signed URL is used for half its life.
_LIFE_S = 3600
_TIMEOUT_S = 60
# Names that botocore and requests have for the file of certificates to trust.
_CA_FILES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_HEAD_BYTES = 16 << 10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class _Signed(NamedTuple):
    url: SplitResult
    until: float


class SignedReads:
    """Reads ranges of objects that an s3fs file system can read. For several threads, each with
    connections of its own."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._signed: dict[str, _Signed] = {}
        self._own = threading.local()
        self._context: ssl.SSLContext | None = None

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes start <= i < end of an object.

        Raises FileNotFoundError, or OSError as s3fs does. No message holds a signed URL.
        """
        data = self._get(path, start, end)
        if data is None:
            data = self._fs.cat_file(path, start=start, end=end)
        return data

    def _get(self, path: str, start: int, end: int) -> bytes | None:
        """The bytes; None where anything else came."""
        url = self._url(path)
        connection = self._connection(url)
        if connection is None:
            return None
        target = f"{url.path}?{url.query}" if url.query else url.path
        try:
            _ask(connection, url.netloc, target, start, end)
            data, is_last = _answer(connection, end - start)
        except OSError:
            data, is_last = None, True
        if is_last:
            connection.close()
            self._own.kept.pop(url.netloc)
        if data is None:
            self._signed.pop(path, None)
        return data

    def _url(self, path: str) -> SplitResult:
        signed = self._signed.get(path)
        if signed is None or time.monotonic() > signed.until:
            url = urlsplit(self._fs.sign(path, expiration=_LIFE_S))
            signed = self._signed[path] = _Signed(url, time.monotonic() + _LIFE_S / 2)
        return signed.url

    def _connection(self, url: SplitResult) -> socket.socket | None:
        """This thread's connection to a host; None where there is none or a proxy is to be used."""
        kept: dict[str, socket.socket] | None = getattr(self._own, "kept", None)
        if kept is None:
            kept = self._own.kept = {}
        if url.netloc not in kept:
            host = url.hostname or ""
            if url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
                return None
            try:
                kept[url.netloc] = self._connected(url.scheme, host, url.port)
            except OSError:
                return None
        return kept[url.netloc]

    def _connected(self, scheme: str, host: str, port: int | None) -> socket.socket:
        default = 443 if scheme == "https" else 80
        connection = socket.create_connection((host, port or default), timeout=_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "https":
            if self._context is None:
                given = next((os.environ[name] for name in _CA_FILES if name in os.environ), None)
                self._context = ssl.create_default_context(cafile=given)
            return self._context.wrap_socket(connection, server_hostname=host)
        # The kernel's own timeout: with Python's, it cannot be asked for a whole body at once.
        connection.settimeout(None)
        timeout = struct.pack("ll", _TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        return connection


def _ask(connection: socket.socket, host: str, target: str, start: int, end: int) -> None:
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        f"Range: bytes={start}-{end - 1}",
        "Accept-Encoding: identity",
        "\r\n",
    )
    connection.sendall("\r\n".join(lines).encode("ascii"))


def _answer(connection: socket.socket, size: int) -> tuple[bytes | None, bool]:
    """The body of an answer that is a range of `size` bytes, else None; and whether the connection
    can be used no more. Raises OSError."""
    is_tls = isinstance(connection, ssl.SSLSocket)
    came = b""
    while (end := came.find(b"\r\n\r\n")) < 0:
        if len(came) >= _HEAD_BYTES:
            return None, True
        if is_tls:
            more = connection.recv(_HEAD_BYTES - len(came))
        else:
            # Looked at first, so that the body can be received into one piece of memory.
            more = connection.recv(_HEAD_BYTES, socket.MSG_PEEK)
            ends = more.find(b"\r\n\r\n")
            more = connection.recv(ends + 4 if ends >= 0 else len(more))
        if not more:
            return None, True
        came += more
    head, rest = came[: end + 4], came[end + 4 :]
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 206 ") or length is None or int(length[1]) != size:
        return None, True
    body = (
        _received(connection, size, rest) if is_tls else connection.recv(size, socket.MSG_WAITALL)
    )
    return (body, bool(_CLOSE.search(head))) if len(body) == size else (None, True)


def _received(connection: socket.socket, size: int, begun: bytes) -> bytes:
    """A body of which some has come already."""
    body = bytearray(size)
    view, at = memoryview(body), len(begun)
    view[:at] = begun
    while at < size and (more := connection.recv_into(view[at:])):
        at += more
    return bytes(view[:at])
