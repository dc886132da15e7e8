"""The HTTP response inside a WARC record, read leniently and within bounds."""

import io
import re
import zlib
from typing import NamedTuple

from fastwarc.stream_io import BrotliReader, ZstdReader

_MAX_HEADER_BYTES = 64 << 10
_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/[0-9.]{1,4}(?: +HTTP/[0-9.]{1,4})? +([0-9]{3})")
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


class Response(NamedTuple):
    """status: the code. headers: (lower-case name, value). body: decoded."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value under a lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


def parse_response(block: bytes, max_body_bytes: int) -> Response | None:
    """The response in a record's block; None when there is no status line.

    Lines may end in LF alone, and the version may be doubled. Transfer and content encodings
    are undone where the bytes show that they are still there (crawlers often store the decoded
    body under the old headers); a decoded body is cut at `max_body_bytes`.
    """
    status = _STATUS.match(block)
    if not status:
        return None
    end = _END.search(block, 0, _MAX_HEADER_BYTES)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    headers: list[tuple[str, str]] = []
    for line in head[:_MAX_HEADER_BYTES].decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    response = Response(int(status[1]), headers, body)
    if "chunked" in (response.header("transfer-encoding") or "").lower():
        response = response._replace(body=_dechunk(body, max_body_bytes))
    encoding = (response.header("content-encoding") or "").lower()
    if encoding and encoding != "identity":
        response = response._replace(body=_decompress(response.body, encoding, max_body_bytes))
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
    try:
        if body[:2] == b"\x1f\x8b":
            return zlib.decompressobj(31).decompress(body, max_bytes)
        if "deflate" in encoding and body[:1] == b"\x78":
            return zlib.decompressobj(15).decompress(body, max_bytes)
        if body[:4] == b"\x28\xb5\x2f\xfd":
            return bytes(ZstdReader(io.BytesIO(body)).read(max_bytes))
        if "br" in encoding and body.lstrip()[:1] != b"<":
            return bytes(BrotliReader(io.BytesIO(body)).read(max_bytes)) or body
    except (zlib.error, OSError, ValueError):
        return body
    return body
