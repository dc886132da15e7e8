"""The embedded web's archives: WARC and WAT files as crawls publish them, all from the seed.

Each page is in exactly one archive. One archive has a corrupt gzip member in its middle and another
ends within a record; both records are fillers that hold no counted page.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha1
from pathlib import Path
from typing import Any
from uuid import UUID

from pipeline.fakeweb.model import Page
from pipeline.fakeweb.pages import filler_html, headers, page_html, page_metadata
from pipeline.fakeweb.world import World

_START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Damage:
    """A record that cannot be read. kind: 'corrupt' or 'truncated'. offset in bytes."""

    archive: str
    kind: str
    offset: int
    page_url: str


def archive_name(world: World, archive: int) -> str:
    """File name of an archive; the last `wat_share` of them are WAT."""
    section = world.section
    is_wat = archive >= section.archives - round(section.archives * section.wat_share)
    return f"web-{archive:05}.warc.{'wat.' if is_wat else ''}gz"


def write_archives(world: World, folder: Path) -> list[Damage]:
    """Write all archives into a folder; what is damaged in them."""
    folder.mkdir(parents=True, exist_ok=True)
    pages: list[list[Page]] = [[] for _ in range(world.section.archives)]
    for page in world.pages:
        pages[page.archive].append(page)
    schemes = {host.name: host.scheme for host in world.hosts}
    damages = []
    for archive, held in enumerate(pages):
        name = archive_name(world, archive)
        records = _wat_records if ".wat." in name else _warc_records
        offset = 0
        middle = len(held) // 2
        with open(folder / name, "wb") as file:
            for number, record in records(world, name, held, schemes):
                if archive == 0 and number == middle:
                    damages.append(Damage(name, "corrupt", offset, _filler_url(archive)))
                    offset += file.write(_corrupt(_filler(name, archive)))
                    middle = -1
                offset += file.write(gzip.compress(record, 6, mtime=0))
            if archive == world.section.archives - 1:
                damages.append(Damage(name, "truncated", offset, _filler_url(archive)))
                whole = _filler(name, archive)
                file.write(whole[: len(whole) // 2])
    return damages


def _filler_url(archive: int) -> str:
    return f"http://lost.example/{archive}.html"


def _filler(name: str, archive: int) -> bytes:
    """A whole compressed record of a page that counts nowhere."""
    url = _filler_url(archive)
    body = filler_html(archive)
    if ".wat." in name:
        payload = {"Links": [{"path": "IMG@/src", "url": url + str(i)} for i in range(500)]}
        return gzip.compress(record("metadata", url, _START, json.dumps(payload).encode()), mtime=0)
    http = http_message("HTTP/1.1 200 OK", [("Content-Type", "text/html")], body)
    return gzip.compress(record("response", url, _START, http), mtime=0)


def _corrupt(member: bytes) -> bytes:
    """The member with its middle overwritten, so that it no longer inflates."""
    for fill in (0xFF, 0x00, 0x55):
        at = len(member) // 2
        spoiled = member[:at] + bytes([fill]) * 32 + member[at + 32 :]
        try:
            gzip.decompress(spoiled)
        except (zlib.error, OSError, EOFError):
            return spoiled
    raise AssertionError("a member survived being overwritten")


def record(
    kind: str,
    url: str,
    date: datetime,
    block: bytes,
    content_type: str = "",
    refers_to: str = "",
) -> bytes:
    """One uncompressed WARC record. Source: ISO 28500, WARC 1.0."""
    default = {
        "response": "application/http; msgtype=response",
        "request": "application/http; msgtype=request",
        "warcinfo": "application/warc-fields",
        "metadata": "application/json",
    }[kind]
    lines = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Date: {date.strftime('%Y-%m-%dT%H:%M:%SZ')}",
        f"WARC-Record-ID: {record_id(f'{kind} of {refers_to}' if refers_to else kind, url)}",
        f"Content-Length: {len(block)}",
        f"Content-Type: {content_type or default}",
    ]
    if kind == "warcinfo":
        lines.append(f"WARC-Filename: {url}")
    else:
        lines.append(f"WARC-Target-URI: {url}")
    if refers_to:
        lines.append(f"WARC-Refers-To: {refers_to}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def record_id(kind: str, url: str) -> str:
    """A record's id, always the same for the same record."""
    return f"<urn:uuid:{UUID(bytes=blake2b(f'{kind} {url}'.encode(), digest_size=16).digest())}>"


def http_message(first_line: str, fields: list[tuple[str, str]], body: bytes) -> bytes:
    """An HTTP message as it stands in a record."""
    head = "\r\n".join([first_line, *(f"{name}: {value}" for name, value in fields)])
    return head.encode() + b"\r\n\r\n" + body


def _warc_records(
    world: World, name: str, pages: list[Page], schemes: dict[str, str]
) -> Iterator[tuple[int, bytes]]:
    """(number of the page it belongs to, record) for a WARC: pages amid what else a crawl holds."""
    yield 0, record("warcinfo", name, _START, b"software: embedded web\r\nformat: WARC 1.0\r\n")
    for number, page in enumerate(pages):
        date = _START + timedelta(seconds=page.index)
        host, _, path = page.url.partition("://")[2].partition("/")
        asked = http_message(f"GET /{path} HTTP/1.1", [("Host", host)], b"")
        yield number, record("request", page.url, date, asked)
        body = page_html(world.section.seed, page, world.images, schemes)
        yield number, record("response", page.url, date, _response(page, body))
        note = b"fetchTimeMs: 120\r\ncharset-detected: UTF-8\r\n"
        yield number, record("metadata", page.url, date, note, "application/warc-fields")
        if number % 25 == 0:
            yield from ((number, other) for other in _others(page, date))


def _response(page: Page, body: bytes) -> bytes:
    """The page's response: mostly stored decoded, some chunked or compressed as they were sent."""
    fields = headers(page)
    if page.index % 37 == 5:
        body = gzip.compress(body, 6, mtime=0)
        fields = [*fields, ("Content-Encoding", "gzip")]
    if page.index % 31 == 3:
        half = len(body) // 2
        chunks = (body[:half], body[half:])
        body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        fields = [*fields, ("Transfer-Encoding", "chunked")]
    else:
        fields = [*fields, ("Content-Length", str(len(body)))]
    return http_message("HTTP/1.1 200 OK", fields, body)


def _others(page: Page, date: datetime) -> Iterator[bytes]:
    """Records that are no pages: robots.txt, an error page, a redirect, a feed."""
    root = page.url.split("/", 3)[:3]
    for path, first, kind, body in (
        ("robots.txt", "HTTP/1.1 200 OK", "text/plain", b"User-agent: *\nDisallow:\n"),
        (
            f"gone/{page.index}.html",
            "HTTP/1.1 404 Not Found",
            "text/html",
            b'<img src="/not-here.jpg" alt="on an error page">',
        ),
        (f"old/{page.index}.html", "HTTP/1.1 301 Moved Permanently", "text/html", b""),
        (f"feed/{page.index}.xml", "HTTP/1.1 200 OK", "application/rss+xml", b"<rss></rss>"),
    ):
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if " 301 " in first:
            fields.append(("Location", page.url))
        url = "/".join([*root, path])
        yield record("response", url, date, http_message(first, fields, body))


def _wat_records(
    world: World, name: str, pages: list[Page], schemes: dict[str, str]
) -> Iterator[tuple[int, bytes]]:
    """(number of the page it belongs to, record) for a WAT in Common Crawl's layout."""
    yield 0, record("warcinfo", name, _START, b"Software-Info: embedded web\r\nformat: WAT\r\n")
    container = {"Filename": name.replace(".wat", ""), "Compressed": True}
    for number, page in enumerate(pages):
        date = _START + timedelta(seconds=page.index)
        envelopes: tuple[tuple[str, dict[str, Any]], ...] = (
            ("request", {"HTTP-Request-Metadata": _request_metadata(page)}),
            ("response", {"HTTP-Response-Metadata": _response_metadata(world, page, schemes)}),
            ("metadata", {"WARC-Metadata-Metadata": {"Metadata-Records": []}}),
        )
        for kind, payload in envelopes:
            envelope = _envelope(page, kind, payload, date)
            block = json.dumps(
                {"Container": container, "Envelope": envelope},
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
            # The three are told apart by what they refer to, as the originals' ids differ.
            refers_to = record_id(kind, page.url)
            yield number, record("metadata", page.url, date, block, refers_to=refers_to)


def _request_metadata(page: Page) -> dict[str, Any]:
    host, _, path = page.url.partition("://")[2].partition("/")
    return {
        "Request-Message": {"Method": "GET", "Path": f"/{path}", "Version": "HTTP/1.1"},
        "Headers": {"Host": host},
    }


def _response_metadata(world: World, page: Page, schemes: dict[str, str]) -> dict[str, Any]:
    found = page_metadata(world.section.seed, page, world.images, schemes)
    digest = sha1(json.dumps(found, ensure_ascii=False).encode()).hexdigest()
    return {
        "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": dict(headers(page)),
        "HTML-Metadata": found,
        "Entity-Digest": f"sha1:{digest.upper()}",
    }


def _envelope(page: Page, kind: str, payload: dict[str, Any], date: datetime) -> dict[str, Any]:
    http = kind in ("request", "response")
    content = f"application/http; msgtype={kind}" if http else "application/metadata-fields"
    return {
        "Payload-Metadata": {"Actual-Content-Type": content, **payload},
        "Format": "WARC/1.0",
        "WARC-Header-Metadata": {
            "WARC-Type": kind,
            "WARC-Target-URI": page.url,
            "WARC-Date": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Record-ID": record_id(kind, page.url),
            "Content-Type": content,
        },
    }
