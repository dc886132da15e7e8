"""The explorer: a page on this machine's loopback interface, for one person."""

import json
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.core.errors import InputError
from pipeline.search.asking import Model
from pipeline.search.nearest import Hit, Nearest

_HERE = Path(__file__).parent
_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_MAX_BYTES, _MAX_TEXT = 20_000_000, 1000
_NAMES = ("127.0.0.1", "localhost")
_HITS = 24


class Explorer(ThreadingHTTPServer):
    """Serves an index on 127.0.0.1; port 0 takes a free one, see `address`."""

    daemon_threads = True

    def __init__(self, nearest: Nearest, model: Model, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.nearest, self.model = nearest, model
        self.lock = threading.Lock()  # neither index nor model is for two threads at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Explorer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """The page, its script, a picture, or an answer to a text or a row."""
        self._answer(None)

    def do_POST(self) -> None:
        """The answer to a picture."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_BYTES:
            self.close_connection = True
            self._error(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_MAX_BYTES:,} bytes, please"
            )
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes | None) -> None:
        # A page elsewhere that points its own name at this address would read what is served.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in _NAMES:
            self._error(HTTPStatus.MISDIRECTED_REQUEST, "ask for 127.0.0.1")
            return
        url = urlsplit(self.path)
        try:
            with self.server.lock:
                if url.path in _PAGES and body is None:
                    name, kind = _PAGES[url.path]
                    self._send(HTTPStatus.OK, (_HERE / name).read_bytes(), kind)
                elif url.path.startswith("/picture/") and body is None:
                    row = _number(url.path.removeprefix("/picture/"))
                    self._send(HTTPStatus.OK, self.server.nearest.picture(row), "image/jpeg")
                elif url.path == "/favicon.ico":
                    self._send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")
                elif url.path == "/search":
                    self._found(url.query, body)
                else:
                    self._error(HTTPStatus.NOT_FOUND, "there is nothing here")
        except InputError as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))

    def _found(self, query: str, body: bytes | None) -> None:
        asked = parse_qs(query)
        if body is not None:
            vector = self.server.model.picture(body)
        elif "text" in asked:
            vector = self.server.model.text(asked["text"][0][:_MAX_TEXT])
        elif "row" in asked:
            vector = self.server.nearest.vector(_number(asked["row"][0]))
        else:
            raise InputError("ask with ?text= or ?row=, or post a picture")
        hits = self.server.nearest.search(vector, _HITS)
        found = {"hits": [_told(hit) for hit in hits], "pictures": self.server.nearest.pictures}
        self._send(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

    def _error(self, status: HTTPStatus, told: str) -> None:
        self._send(status, json.dumps({"error": told}).encode(), "application/json")

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src 'self'; script-src 'self'; connect-src 'self'; "
            "style-src 'unsafe-inline'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """What is asked is nobody else's business."""


def _told(hit: Hit) -> dict[str, Any]:
    return hit._asdict() | {"pair_id": hit.pair_id.hex()}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(f"{text[:40]!r} is no row")
    return int(text)
