"""A loopback server of S3's GetObject, ranges included, over a folder: one bucket, no signatures.

python -m tests.benchmarks.range_server <folder>        prints its port
"""

import os
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_MISSING = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, folder: str) -> None:
        self.folder = folder
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        """Answer with the size."""
        path = self._file()
        self._head(200 if path.is_file() else 404, path.stat().st_size if path.is_file() else 0)

    def do_GET(self) -> None:
        """Answer /bucket/key with the file `key` below the folder."""
        path = self._file()
        if not path.is_file():
            self._head(404, len(_MISSING))
            self.wfile.write(_MISSING)
            return
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = self.headers.get("Range")
            first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size - 1) + 1, size)
            self._head(206 if wanted else 200, end - start, f"bytes {start}-{end - 1}/{size}")
            self.wfile.flush()
            at = start
            while at < end:
                at += os.sendfile(self.connection.fileno(), file.fileno(), at, end - at)

    def _file(self) -> Path:
        return Path(self.folder, self.path.partition("?")[0].split("/", 2)[-1])

    def _head(self, status: int, length: int, ranged: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if ranged:
            self.send_header("Content-Range", ranged)
        self.send_header("ETag", '"none"')
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that wait to be accepted: with the few there are otherwise, those of many clients
    # that begin at one time are lost and tried again after seconds.
    request_queue_size = 512


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), partial(Handler, folder=sys.argv[1]))
    print(server.server_port, flush=True)
    server.serve_forever()
