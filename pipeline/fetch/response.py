"""Responses: which of them redirect, and bodies within a cap, without their content encoding."""

import zlib

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.errors import FetchError

# Statuses that lead elsewhere. Source: RFC 9110 section 15.4; 300 and 304 name no one place.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A body of an answer that is not wanted is read to keep the connection only up to this size.
DRAIN_BYTES = 64 * 1024


async def drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body, so that its connection can serve again."""
    await read_up_to(response, DRAIN_BYTES)


async def read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or its first `limit` bytes when it is longer."""
    chunks: list[bytes] = []
    received = 0
    while received < limit and (chunk := await response.content.readany()):
        chunks.append(chunk)
        received += len(chunk)
    return b"".join(chunks)[:limit]


def decompressed(body: bytes, encoding: str, cap: int, *, is_cut: bool = False) -> bytes:
    """A body without its content encoding, at most `cap` bytes of it.

    Servers were asked for none; gzip and deflate are undone all the same. Raises FetchError when
    the result is over the cap (unless `is_cut`) or the encoding is another one.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(Status.BAD_RESPONSE, f"content encoding {encoding[:50]}")
    try:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        data = stream.decompress(body, cap + 1)
    except zlib.error as error:
        raise FetchError(Status.BAD_RESPONSE, f"content encoding: {error}") from None
    if len(data) > cap and not is_cut:
        raise FetchError(Status.TOO_LARGE, f"over {cap} bytes decompressed")
    return data[:cap]
