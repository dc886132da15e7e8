"""Recorded HTTP responses: found in WARC files by URL, read when asked for, fit to send again."""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType

# Source: RFC 9110, section 7.6.1, and what is counted anew.
_NOT_SENT_AGAIN = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    )
)
_MAX_BODY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Place:
    """Where a response's record starts. offset in bytes."""

    archive: str
    offset: int


@dataclass(frozen=True)
class Recorded:
    """A response as it can be sent. fields: headers in order, hop-by-hop ones left out."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


def index(archives: Sequence[str]) -> dict[str, Place]:
    """URL -> the record to serve: the first 200 of it, or the first of any status."""
    found: dict[str, tuple[bool, Place]] = {}
    for archive in archives:
        for url, offset, status in _responses(archive):
            is_good = status == 200
            known = found.get(url)
            if known is None or (is_good and not known[0]):
                found[url] = (is_good, Place(archive, offset))
    return {url: place for url, (_, place) in found.items()}


def _responses(archive: str) -> Iterator[tuple[str, int, int]]:
    """(URL, offset, status) of every HTTP response; stops where the file cannot be read on."""
    with open(archive, "rb") as file:
        records = ArchiveIterator(
            file, record_types=WarcRecordType.response, parse_http=False, quirks_mode=True
        )
        while True:
            try:
                record = next(records)
                url = (record.headers.get("WARC-Target-URI") or "").strip("<> ")
                first = record.reader.readline(8192)
            except StopIteration:
                return
            except Exception:  # noqa: BLE001 - whatever a broken member raises, the rest is served
                return
            status = _status(first)
            if status and url.startswith(("http://", "https://")):
                yield without_fragment(url), record.stream_pos, status


def without_fragment(url: str) -> str:
    """The URL as a request can name it: no fragment, and a path."""
    url = url.partition("#")[0]
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not slash:
        host, question, query = rest.partition("?")
        path = question + query
    name, _, port = host.rpartition(":")
    if name and port == {"http": "80", "https": "443"}.get(scheme):
        host = name
    return f"{scheme}://{host.lower()}/{path}"


def _status(first_line: bytes) -> int:
    """The status code of an HTTP status line, 0 when it is none."""
    words = first_line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return 0
    code = int(words[1])
    return code if 200 <= code <= 599 else 0


def read(place: Place) -> Recorded | None:
    """The response at a place, None when it cannot be read."""
    try:
        with open(place.archive, "rb") as file:
            file.seek(place.offset)
            record: Any = next(ArchiveIterator(file, parse_http=False, quirks_mode=True))
            raw = record.reader.read(_MAX_BODY_BYTES)
    except Exception:  # noqa: BLE001 - a record that breaks is served as not there
        return None
    return parse(raw)


def parse(raw: bytes) -> Recorded | None:
    """A recorded response with its body as a client should see it: not chunked, not compressed.

    Recorders differ in whether they store bodies as sent or decoded, and leave the headers either
    way; so the body itself is looked at. None when there is no HTTP in it.
    """
    head, blank, body = raw.partition(b"\r\n\r\n")
    if not blank:
        head, blank, body = raw.partition(b"\n\n")
    first, *lines = head.decode("latin-1").splitlines() or [""]
    status = _status(first.encode("latin-1"))
    if not status:
        return None
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and name.strip() and " " not in name.strip():
            fields.append((name.strip(), value.strip()))
    coding = {name.lower(): value.lower() for name, value in fields}
    if "chunked" in coding.get("transfer-encoding", ""):
        body = _dechunked(body)
    decoded = _decoded(body, coding.get("content-encoding", ""))
    kept = [
        (name, value)
        for name, value in fields
        if name.lower() not in _NOT_SENT_AGAIN and name.lower() != "content-encoding"
    ]
    if decoded is None:
        kept.append(("Content-Encoding", coding["content-encoding"]))
        decoded = body
    return Recorded(status, kept, decoded)


def _dechunked(body: bytes) -> bytes:
    """The body without chunk framing; as it is when the framing is not there or does not add up."""
    stream = io.BytesIO(body)
    parts: list[bytes] = []
    while True:
        size = stream.readline(1024).split(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            return body
        if length == 0:
            return b"".join(parts)
        part = stream.read(length)
        parts.append(part)
        if len(part) < length:  # the recording was cut
            return b"".join(parts)
        stream.readline(1024)


def _decoded(body: bytes, coding: str) -> bytes | None:
    """The body without its content coding; None when that is one we do not know."""
    coding = coding.strip()
    if coding in ("", "identity", "none"):
        return body
    if coding in ("gzip", "x-gzip"):
        if not body.startswith(b"\x1f\x8b"):
            return body
        try:
            return gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            return body
    if coding == "deflate":
        for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
            try:
                return zlib.decompress(body, window)
            except zlib.error:
                continue
        return body
    return _without_brotli(body) if coding == "br" else None


def _without_brotli(body: bytes) -> bytes | None:
    try:
        import brotli  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        plain: bytes = brotli.decompress(body)
    except brotli.error:
        return body  # stored decoded, under the header it came with
    return plain
