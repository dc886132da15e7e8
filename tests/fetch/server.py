"""A web server on 127.0.0.1 that behaves as badly as the web does, and keeps a log."""

import asyncio
import itertools
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Request:
    host: str
    path: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    async def send(
        self,
        body: bytes = b"",
        status: str = "200 OK",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        length: int | None = None,
    ) -> None:
        items = list(headers.items()) if isinstance(headers, dict) else headers or []
        lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in items)]
        if not any(k.lower() in ("content-length", "transfer-encoding") for k, _ in items):
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await self.writer.drain()


@dataclass
class Event:
    """One request as the server saw it. Times of its loop; `ended` when it was answered."""

    host: str
    path: str
    address: str
    began: float
    ended: float = float("inf")


Handler = Callable[[Request], Awaitable[None]]


@dataclass
class WebServer:
    """routes: path -> handler, or "host/path" for one host alone; anything else is a 404."""

    routes: dict[str, Handler] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)
    active: Counter[str] = field(default_factory=Counter)
    most_active: Counter[str] = field(default_factory=Counter)
    port: int = 0
    addresses: tuple[str, ...] = ("127.0.0.1",)
    events: list[Event] = field(default_factory=list)

    def __enter__(self) -> "WebServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        self._others = []
        for address in self.addresses[1:]:
            start = asyncio.start_server(self._serve, address, self.port, ssl=self.tls)
            other = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
            self._others.append(other)
        return self

    def __exit__(self, *exc: object) -> None:
        async def stop() -> None:
            for server in (self._server, *self._others):
                server.close()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def asked(self, host: str) -> list[str]:
        return [path for name, path in self.log if name == host]

    def most_at_once(self, events: list[Event]) -> int:
        """The most requests that were under way at the same time."""
        ends = sorted([(e.ended, -1) for e in events] + [(e.began, 1) for e in events])
        return max(itertools.accumulate(step for _, step in ends))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = head[0].split(" ")[1]
                headers = {
                    k.strip().lower(): v.strip()
                    for k, _, v in (line.partition(":") for line in head[1:] if line)
                }
                host = headers.get("host", "").rsplit(":", 1)[0]
                self.log.append((host, path))
                self.user_agents.add(headers.get("user-agent", ""))
                self.active[host] += 1
                self.most_active[host] = max(self.most_active[host], self.active[host])
                address = writer.get_extra_info("sockname")[0]
                event = Event(host, path, address, self._loop.time())
                self.events.append(event)
                try:
                    await self._answer(Request(host, path, headers, writer))
                finally:
                    event.ended = self._loop.time()
                    self.active[host] -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request) -> None:
        handler = self.routes.get(f"{request.host}{request.path}") or self.routes.get(request.path)
        if handler is None:
            await request.send(b"nothing", "404 Not Found")
        else:
            await handler(request)
