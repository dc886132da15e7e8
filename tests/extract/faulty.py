"""A small HTTP server that fails in the ways that object storage does."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Faulty:
    """Serves `data` at every path; the first part of a path says how.

    ok; resets: every body stops after 50 KB; busy: 503 to the first two GETs; limited: 429 with
    Retry-After to the first; noranges: ranges are ignored; noranges-resets: and bodies stop, ever
    later; short: less than the announced length, by its own account; gone: 404; secret: 403;
    dead: 500 always; flaky: every third GET is refused in some way.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.gets: Counter[str] = Counter()
        self.bytes_sent = 0
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler, is_head: bool) -> None:
        kind = handler.path.split("/")[1]
        if not is_head:
            self.gets[kind] += 1
        tries = self.gets[kind]
        if kind == "gone":
            return self.status(handler, 404)
        if kind == "secret":
            return self.status(handler, 403)
        if kind == "dead":
            return self.status(handler, 500)
        if not is_head and kind == "busy" and tries <= 2:
            return self.status(handler, 503)
        if not is_head and kind == "limited" and tries == 1:
            return self.status(handler, 429, {"Retry-After": "7"})
        if not is_head and kind == "flaky" and tries % 3 == 0:
            if tries % 2:
                return self.status(handler, 502)
            handler.close_connection = True
            return None
        self.body(handler, kind, tries, is_head)

    def status(self, handler, status: int, headers: dict[str, str] | None = None) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()

    def body(self, handler, kind: str, tries: int, is_head: bool) -> None:
        data, whole = self.data, len(self.data)
        asked = re.match(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        has_ranges = not kind.startswith("noranges")
        if kind == "short" and not is_head:
            data = data[: whole // 2]
        if asked and has_ranges:
            start, stop = int(asked[1]), int(asked[2] or whole - 1) + 1
            part = data[start:stop]
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{whole}")
        else:
            part = data
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(part)))
        if has_ranges:
            handler.send_header("Accept-Ranges", "bytes")
        handler.end_headers()
        if is_head:
            return
        if kind == "resets":
            sent = part[:50_000]
        elif kind == "noranges-resets":
            sent = part[: 100_000 * tries]
        else:
            sent = part
        self.bytes_sent += len(sent)
        handler.wfile.write(sent)
        if len(sent) < len(part):
            handler.wfile.flush()
            time.sleep(0.01)
            handler.close_connection = True
            handler.connection.shutdown(2)


@contextmanager
def serve(data: bytes) -> Iterator[Faulty]:
    faulty = Faulty(data)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            faulty.answer(self, False)

        def do_HEAD(self) -> None:
            faulty.answer(self, True)

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    faulty.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()
