"""A proxy on loopback that stands before an S3 server and fails as servers and networks do."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SLOW_DOWN = "503 SlowDown"
INTERNAL_ERROR = "500 InternalError"
# The connection is reset: before the server has heard of the request, or when it has done it.
UNHEARD, UNANSWERED = "unheard", "unanswered"
# Half of the answer's body comes.
TORN = "torn"
# Nothing comes for as long as the proxy is there.
STALLED = "stalled"


@dataclass
class Faults:
    """What goes wrong, and what was asked.

    chosen: of a request line ("PUT /bucket/key?uploads"), whether it is to fail. left: faults of
    the next such requests, in order; `always`: of all that follow. asked: the request lines.
    over: set when the proxy ends.
    """

    chosen: Callable[[str], bool] = lambda _: False
    left: list[str] = field(default_factory=list)
    always: str = ""
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def next(self, line: str) -> str:
        """The fault of a request; "" for none."""
        with self.lock:
            self.asked.append(line)
            if not self.chosen(line):
                return ""
            return self.left.pop(0) if self.left else self.always


@contextmanager
def before(server: str) -> Iterator[tuple[str, Faults]]:
    """A proxy of the server at an address, until the block ends: its own address, and its faults."""
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faults.next(f"{self.command} {self.path}")
            if fault == STALLED:
                faults.over.wait(60)
            if fault in (UNHEARD, STALLED):
                self._reset()
            elif fault in (SLOW_DOWN, INTERNAL_ERROR):
                status, code = fault.split()
                told = f"<Error><Code>{code}</Code><Message>now and then</Message></Error>".encode()
                self._answer(int(status), {"Content-Length": str(len(told))}, told)
            else:
                self._forward(body, fault)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def _forward(self, body: bytes, fault: str) -> None:
            behind = http.client.HTTPConnection(urlsplit(server).netloc)
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    behind.putheader(name, value)
            behind.endheaders(body)
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            if fault == UNANSWERED:
                self._reset()
                return
            skipped = ("connection", "transfer-encoding", "content-length")
            told = {n: v for n, v in answer.headers.items() if n.lower() not in skipped}
            length = answer.headers.get("Content-Length") or str(len(data))
            told["Content-Length"] = length if self.command == "HEAD" else str(len(data))
            self._answer(answer.status, told, data[: len(data) // 2] if fault == TORN else data)
            if fault == TORN:
                self._reset()

        def _answer(self, status: int, told: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _reset(self) -> None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    proxy = Server(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", faults
    finally:
        faults.over.set()
        proxy.shutdown()
        proxy.server_close()
