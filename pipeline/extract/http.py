"""The HTTP response inside a WARC record, read leniently and within bounds."""

import io
import re
import zlib
from typing import Any

from fastwarc.stream_io import BrotliReader, ZstdReader
from isal import isal_zlib

_MAX_HEADER_BYTES = 64 << 10
_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/[0-9.]{1,4}(?: +HTTP/[0-9.]{1,4})? +([0-9]{3})")
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_GZIP_MAGIC = b"\x1f\x8b"
_INFLATE_ERROR: Any = isal_zlib.error
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_STEP_BYTES = 256


class Response:
    """status: the code. body: decoded. Headers are parsed when they are asked for."""

    __slots__ = ("_head", "_headers", "_lower", "body", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.body = body
        self._head = head
        self._lower = head.lower()
        self._headers: list[tuple[str, str]] | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """(lower-case name, value), in order."""
        if self._headers is None:
            self._headers = []
            for line in self._head.decode("latin-1").split("\n")[1:]:
                name, colon, value = line.partition(":")
                if colon:
                    self._headers.append((name.strip().lower(), value.strip()))
        return self._headers

    def header(self, name: str) -> str | None:
        """The first value under a lower-case name."""
        lower = self._lower
        key = b"\n" + name.encode("latin-1", "replace")
        at = lower.find(key)
        if at < 0:
            return None
        end = at + len(key)
        if lower[end : end + 1] == b":":
            stop = lower.find(b"\n", end)
            value = self._head[end + 1 : stop] if stop >= 0 else self._head[end + 1 :]
            return value.decode("latin-1").strip()
        # A longer name that starts so, or blanks before the colon.
        return next((value for key, value in self.headers if key == name), None)


def parse_response(block: bytes, max_body_bytes: int) -> Response | None:
    """The response in a record's block; None when there is no status line.

    Lines may end in LF alone, and the version may be doubled. Transfer and content encodings
    are undone where the bytes show that they are still there (crawlers often store the decoded
    body under the old headers); a decoded body is cut at `max_body_bytes`. Of an encoded body that
    is damaged, what can be decoded is given.
    """
    status = _STATUS.match(block)
    if not status:
        return None
    at = block.find(b"\r\n\r\n", 0, _MAX_HEADER_BYTES)
    # A header of lines that end in LF alone ends before any CRLF CRLF of the body.
    bare = block.find(b"\n\n", 0, at if at >= 0 else _MAX_HEADER_BYTES)
    if at >= 0 and bare < 0 and block.find(b"\n\r\n", 0, at - 1) < 0:
        head, body = block[:at], block[at + 4 :]
    elif end := _END.search(block, 0, _MAX_HEADER_BYTES):
        head, body = block[: end.start()], block[end.end() :]
    else:
        head, body = block[:_MAX_HEADER_BYTES], b""
    response = Response(int(status[1]), head, body)
    transfer = response.header("transfer-encoding")
    if transfer is not None and "chunked" in transfer.lower():
        response.body = _dechunk(body, max_body_bytes)
    encoding = response.header("content-encoding")
    if encoding and encoding.lower() != "identity":
        response.body = _decompress(response.body, encoding.lower(), max_body_bytes)
    return response


def _dechunk(body: bytes, max_bytes: int) -> bytes:
    """The body without chunk framing; as it is when it does not start with a chunk."""
    parts: list[bytes] = []
    at = taken = 0
    while (chunk := _CHUNK.match(body, at)) and taken < max_bytes:
        size = int(chunk[1], 16)
        if size == 0:
            break
        if not parts and chunk.end() + size > len(body) and b"<" in body[:16]:
            return body
        parts.append(body[chunk.end() : chunk.end() + size])
        at, taken = chunk.end() + size, taken + size
    return b"".join(parts) if parts else body


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The decoded body, what could be decoded of it, or the body itself if it is not encoded."""
    if body.startswith(_GZIP_MAGIC):
        return _inflate(body, 31, max_bytes)
    is_text = body[:64].lstrip().startswith(b"<")
    if "deflate" in encoding and not is_text:
        # Source: RFC 9110 section 8.4.1.2: zlib's framing; some servers leave it out.
        return _inflate(body, 15 if body[:1] == b"\x78" else -15, max_bytes)
    try:
        if body.startswith(_ZSTD_MAGIC):
            return bytes(ZstdReader(io.BytesIO(body)).read(max_bytes))
        if "br" in encoding and not is_text:
            return bytes(BrotliReader(io.BytesIO(body)).read(max_bytes)) or body
    except (OSError, ValueError):
        return body
    return body


def _inflate(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    try:
        return bytes(isal_zlib.decompressobj(window_bits).decompress(body, max_bytes)) or body
    except _INFLATE_ERROR:
        pass
    # Damaged: in small steps, as far as it goes.
    inflater, parts, left = zlib.decompressobj(window_bits), [], max_bytes
    for at in range(0, len(body), _STEP_BYTES):
        try:
            part = inflater.decompress(body[at : at + _STEP_BYTES], left)
        except zlib.error:
            break
        parts.append(part)
        left -= len(part)
        if not left:
            break
    return b"".join(parts) or body
