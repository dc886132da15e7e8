"""What a server of the embedded web does with a request for an image, by kind.

Nothing here goes on for ever: slow and endless bodies stop by themselves.
"""

import asyncio
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

from pipeline.fakeweb.hostile import PRIVATE_TARGETS, WITH_PICTURE, Kind
from pipeline.fakeweb.httpd import Exchange

_DRIP_SECONDS = 60.0
_SILENT_SECONDS = 60.0
_DRIP_EVERY_SECONDS = 0.5
# Over the body caps that downloaders have.
_ENDLESS_BYTES = 80_000_000
_OVERSIZE_BYTES = 200_000_000
_PIECE = bytes(range(256)) * 256
_JPEG_START = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
_LAST_MODIFIED = "Fri, 05 Jan 2024 10:00:00 GMT"
_ERROR_PAGE = b"<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>"
_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300">'
    b'<image href="file:///etc/passwd"/><rect width="400" height="300"/></svg>'
)
_STATUS = {
    Kind.FORBIDDING: 403,
    Kind.HTTP_403: 403,
    Kind.HTTP_404: 404,
    Kind.HTTP_410: 410,
    Kind.HTTP_451: 451,
    Kind.HTTP_500: 500,
    Kind.HTTP_503: 503,
}


@dataclass(frozen=True)
class Route:
    """What is known of one image URL. location: target of its redirect, "" for none."""

    image_id: str
    kind: Kind
    target: str
    content_type: str
    header: str
    location: str
    number: int
    body: Callable[[], bytes]


async def respond(exchange: Exchange, route: Route, visit: int) -> bool:
    """Answer for an image. visit: how many requests for it came before this one.

    Returns whether the connection can be used again.
    """
    kind = route.kind
    if kind in _STATUS:
        exchange.answer(_STATUS[kind], [("Content-Type", "text/html")], _ERROR_PAGE)
        return True
    if kind is Kind.BUSY or (kind is Kind.BUSY_ONCE and visit == 0):
        exchange.answer(429, [("Retry-After", "1"), ("Content-Type", "text/plain")], b"slow down")
        return True
    if kind is Kind.BUSY_SILENT:
        exchange.answer(429, [("Content-Type", "text/plain")], b"slow down")
        return True
    location = _location(route, exchange.request.target)
    if location is not None:
        moved = 301 if kind is Kind.REDIRECTED else 302
        exchange.answer(moved, [("Location", location)] if location else [])
        return True
    if kind in _MISBEHAVIOURS:
        await _MISBEHAVIOURS[kind](exchange)
        return False
    if kind is Kind.SHORT_LENGTH:
        await _short_length(exchange, route.body())
        return False
    _send(exchange, route)
    return True


def _send(exchange: Exchange, route: Route) -> None:
    """200 with the route's body, or what stands in for it."""
    content_type, body = route.content_type, b""
    if route.kind is Kind.JPEG_AS_HTML:
        content_type, body = "text/html; charset=utf-8", route.body()
    elif route.kind is Kind.HTML_AS_JPEG:
        body = _ERROR_PAGE
    elif route.kind is Kind.SVG_AS_JPEG:
        body = _SVG
    elif route.kind is not Kind.EMPTY:
        body = route.body()
    fields = [("Content-Type", content_type), ("Cache-Control", "max-age=86400")]
    if route.header:
        name, _, value = route.header.partition(": ")
        fields.append((name, value))
    if route.kind in WITH_PICTURE:
        # Every other picture has a date in place of a tag.
        is_tagged = route.number % 2
        etag, date = f'"{route.image_id[:16]}"', _LAST_MODIFIED
        fields.append(("ETag", etag) if is_tagged else ("Last-Modified", date))
        asked = exchange.request.headers
        if asked.get("if-none-match" if is_tagged else "if-modified-since") in (etag, date):
            exchange.writer.write(exchange.head(304, fields))
            return
    if body and exchange.request.headers.get("range") == "bytes=0-0":
        exchange.answer(206, [*fields, ("Content-Range", f"bytes 0-0/{len(body)}")], body[:1])
        return
    exchange.answer(200, fields, body)


def _location(route: Route, asked: str) -> str | None:
    """Where a redirect leads, "" when it does not say, None when there is no redirect."""
    if route.kind is Kind.REDIRECTED:
        return route.location
    if route.kind is Kind.REDIRECT_PRIVATE:
        return PRIVATE_TARGETS[route.number % len(PRIVATE_TARGETS)]
    if route.kind is Kind.REDIRECT_FILE:
        return "file:///etc/passwd"
    if route.kind is Kind.REDIRECT_NOWHERE:
        return ""
    if route.kind is Kind.REDIRECT_LOOP:
        mark = "&hop=1" if "?" in route.target else "?hop=1"
        return route.target if "hop=1" in asked else route.target + mark
    return None


async def silent(exchange: Exchange) -> None:
    """Say nothing for a minute."""
    await asyncio.sleep(_SILENT_SECONDS)


async def _short_length(exchange: Exchange, body: bytes) -> None:
    fields = [("Content-Type", "image/jpeg"), ("Content-Length", str(len(body) // 2))]
    half = len(body) // 2
    exchange.writer.write(exchange.head(200, fields) + body[:half])
    await exchange.writer.drain()
    await asyncio.sleep(0.1)  # else a client may take the rest for a broken answer
    exchange.writer.write(body[half:])
    await exchange.writer.drain()


async def _gzip_bomb(exchange: Exchange) -> None:
    body = _bomb()
    fields = [
        ("Content-Type", "image/jpeg"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", str(len(body))),
    ]
    exchange.writer.write(exchange.head(200, fields) + body)
    await exchange.writer.drain()


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """A JPEG's start and very many zeros, as gzip."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1_000_000)
    pieces = [packer.compress(_JPEG_START)]
    pieces += [packer.compress(zeros) for _ in range(_ENDLESS_BYTES // len(zeros))]
    return b"".join(pieces) + packer.flush()


async def _endless_headers(exchange: Exchange) -> None:
    exchange.writer.write(exchange.head(200, [("Content-Type", "image/jpeg")])[:-2])
    line = b"X-More: " + b"a" * 990 + b"\r\n"
    for _ in range(_ENDLESS_BYTES // len(line)):
        exchange.writer.write(line)
        await exchange.writer.drain()


async def _slow_drip(exchange: Exchange) -> None:
    fields = [("Content-Type", "image/jpeg"), ("Content-Length", "100000")]
    exchange.writer.write(exchange.head(200, fields) + _JPEG_START)
    for _ in range(int(_DRIP_SECONDS / _DRIP_EVERY_SECONDS)):
        await exchange.writer.drain()
        await asyncio.sleep(_DRIP_EVERY_SECONDS)
        if exchange.writer.is_closing():
            return
        exchange.writer.write(b"\x01")


async def _endless(exchange: Exchange) -> None:
    fields = [("Content-Type", "image/jpeg"), ("Transfer-Encoding", "chunked")]
    exchange.writer.write(exchange.head(200, fields))
    exchange.writer.write(b"%x\r\n%s\r\n" % (len(_JPEG_START), _JPEG_START))
    for _ in range(_ENDLESS_BYTES // len(_PIECE)):
        exchange.writer.write(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE))
        await exchange.writer.drain()


async def _oversize(exchange: Exchange) -> None:
    fields = [("Content-Type", "image/jpeg"), ("Content-Length", str(_OVERSIZE_BYTES))]
    exchange.writer.write(exchange.head(200, fields) + _JPEG_START)
    for _ in range(_ENDLESS_BYTES // len(_PIECE)):
        exchange.writer.write(_PIECE)
        await exchange.writer.drain()


async def _disconnected(exchange: Exchange) -> None:
    fields = [("Content-Type", "image/jpeg"), ("Content-Length", "50000")]
    exchange.writer.write(exchange.head(200, fields) + _JPEG_START + _PIECE[:2000])
    await exchange.writer.drain()


async def _reset(exchange: Exchange) -> None:
    await _disconnected(exchange)
    await asyncio.sleep(0.05)  # so that the head arrives before the reset
    connection = exchange.writer.get_extra_info("socket")
    # Closing with a linger time of zero sends RST in place of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


async def _garbage(exchange: Exchange) -> None:
    exchange.writer.write(b"\x16\x03\x01\x00this is not HTTP\r\n\r\n\x00\xff\xfe")
    await exchange.writer.drain()


async def _huge_headers(exchange: Exchange) -> None:
    fields = [(f"X-Padding-{i}", "a" * 1000) for i in range(2000)]
    exchange.writer.write(exchange.head(200, [*fields, ("Content-Length", "0")]))
    await exchange.writer.drain()


_MISBEHAVIOURS: dict[Kind, Callable[[Exchange], Awaitable[None]]] = {
    Kind.SILENT: silent,
    Kind.SLOW_DRIP: _slow_drip,
    Kind.ENDLESS: _endless,
    Kind.OVERSIZE: _oversize,
    Kind.DISCONNECTED: _disconnected,
    Kind.RESET: _reset,
    Kind.GARBAGE: _garbage,
    Kind.HUGE_HEADERS: _huge_headers,
    Kind.ENDLESS_HEADERS: _endless_headers,
    Kind.GZIP_BOMB: _gzip_bomb,
}
