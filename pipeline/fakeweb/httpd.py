"""A small HTTP/1.1 server on raw asyncio streams, so that a site may misbehave in any way it likes.

It listens on two free loopback ports, HTTP and HTTPS, for every host name at once, and logs one
JSON line per request: `time` (Unix seconds), `scheme`, `host`, `target`, `status` (0: not HTTP),
`user_agent`, `image` (image_id in hex, or null), `open` (requests being answered on that host when
this one arrived, itself included), `open_in_all` (on all hosts).
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from io import RawIOBase
from pathlib import Path
from typing import Protocol

from pipeline.fakeweb.tls import Certificates

_HEAD_BYTES = 64 * 1024
_IDLE_SECONDS = 60.0
_TLS_HANDSHAKE = b"\x16"  # Source: RFC 8446, section 5.1
_BROKEN = (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Request:
    """host: lower case, without port. target: path and query as sent. headers: lower-case names.
    port: as the client names it, null when it does not."""

    method: str
    scheme: str
    host: str
    target: str
    headers: Mapping[str, str]
    port: int | None = None


@dataclass
class Exchange:
    """One request and the ways to answer it. status, image: for the log."""

    request: Request
    writer: asyncio.StreamWriter
    status: int = 0
    image: str | None = None
    is_logged: bool = field(default=False, repr=False)

    def head(self, status: int, fields: list[tuple[str, str]]) -> bytes:
        """A response's head, as bytes."""
        self.status = status
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def answer(self, status: int, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        """A whole response; Content-Length is added."""
        length = [("Content-Length", str(len(body)))]
        head = self.head(status, [*fields, *length])
        self.writer.write(head if self.request.method == "HEAD" else head + body)


class Site(Protocol):
    """What is served."""

    async def respond(self, exchange: Exchange) -> bool:
        """Answer; True when the connection may serve another request.

        Sets `exchange.status` and calls nothing on the log: that is done when this first waits
        for the network or returns.
        """


class Server:
    """Serves a site. open: requests being answered, by host."""

    def __init__(self, site: Site, log: RawIOBase) -> None:
        self._site = site
        self._log = log
        self._open: Counter[str] = Counter()
        self._is_log_failed = False

    async def connected(
        self, scheme: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            while True:
                request = await _read_request(scheme, reader)
                if request is None or not await self._exchange(request, writer):
                    break
        except _BROKEN:
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            return
        with suppress(*_BROKEN, OSError, asyncio.CancelledError):
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), 5)

    async def _exchange(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        exchange = Exchange(request, writer)
        self._open[request.host] += 1
        opened, now = (self._open[request.host], self._open.total()), time.time()
        try:
            keep = await self._site.respond(exchange)
            await writer.drain()
            return keep and request.headers.get("connection", "").lower() != "close"
        finally:
            self._open[request.host] -= 1
            self._write_log(exchange, now, opened)

    def _write_log(self, exchange: Exchange, now: float, opened: tuple[int, int]) -> None:
        request = exchange.request
        line = {
            "time": round(now, 4),
            "scheme": request.scheme,
            "host": request.host,
            "target": request.target,
            "status": exchange.status,
            "user_agent": request.headers.get("user-agent", ""),
            "image": exchange.image,
            "open": opened[0],
            "open_in_all": opened[1],
        }
        try:
            self._log.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            # A full disk must not look like a web that fails: what is stored of it would be wrong.
            if not self._is_log_failed:
                self._is_log_failed = True
                print(f"loopback server: requests are not logged: {error}", file=sys.stderr)


async def _read_request(scheme: str, reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None when the client is done or does not speak HTTP."""
    start = await asyncio.wait_for(reader.readexactly(1), _IDLE_SECONDS)
    if start == _TLS_HANDSHAKE:  # an https URL whose port leads here: refused, not waited for
        return None
    head = start + await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _IDLE_SECONDS)
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    host = headers.get("host", "").lower()
    port = ""
    if not host.endswith("]"):
        name, colon, number = host.rpartition(":")
        host, port = (name, number) if colon else (host, "")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length):
        await reader.readexactly(min(int(length), _HEAD_BYTES))
    target = words[1] if words[1].startswith("/") else "/"
    return Request(words[0], scheme, host, target, headers, int(port) if port.isdecimal() else None)


async def serve(
    site: Site, certificates: Certificates, state: Path, log: Path, dns_server: str = ""
) -> None:
    """Serve until SIGTERM or the end of standard input; says it is ready in one line of JSON.

    dns_server: address of the name server that knows the site's names, to be told as well.
    """
    ca_file = state / "ca.pem"
    certificates.authority.cert_pem.write_to_path(str(ca_file))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not sys.stdin.isatty():
        # Whoever started us holds the other end: when it dies, however it dies, so do we.
        loop.add_reader(sys.stdin, lambda: None if os.read(0, 4096) else stop.set())
    # Unbuffered: a line that cannot be written is lost, not kept to fail again at the end.
    with open(log, "ab", buffering=0) as lines:
        server = Server(site, lines)

        def listener(scheme: str) -> "object":
            return lambda reader, writer: server.connected(scheme, reader, writer)

        plain = await asyncio.start_server(
            listener("http"), "127.0.0.1", 0, limit=_HEAD_BYTES, backlog=1024  # type: ignore[arg-type]
        )  # fmt: skip
        secure = await asyncio.start_server(
            listener("https"), "127.0.0.1", 0, limit=_HEAD_BYTES, backlog=1024,  # type: ignore[arg-type]
            ssl=certificates.listener(),
        )  # fmt: skip
        ports = [s.sockets[0].getsockname()[1] for s in (plain, secure)]
        ready = {
            "http_port": ports[0],
            "https_port": ports[1],
            "ca_file": str(ca_file),
            "dns_server": dns_server,
        }
        print(json.dumps(ready), flush=True)
        await stop.wait()
        plain.close()
        secure.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
