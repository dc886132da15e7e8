"""Writes the archives the tests read."""

import gzip
import io
import json

from pipeline.core.accounts import Account
from pipeline.extract.rows import PairRows, read_archive


def record(kind: str, url: str, content_type: str, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def response(
    body: bytes,
    url: str = "https://page.example/a/b.html",
    content_type: str | None = "text/html; charset=utf-8",
    status: str = "200 OK",
    headers: str = "",
) -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"HTTP/1.1 {status}\r\n{kind}{headers}\r\n".encode()
    return record("response", url, "application/http; msgtype=response", head + body)


def wat(links: list[dict[str, str]], url: str = "https://page.example/a/b.html", **more) -> bytes:
    found = {
        "Response-Message": {"Status": more.get("status", "200")},
        "Headers": more.get("headers", {}),
        "HTML-Metadata": {"Head": more.get("head", {}), "Links": links},
    }
    data = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": found}}}
    return record("metadata", url, "application/json", json.dumps(data).encode())


def gz(*records: bytes) -> bytes:
    return b"".join(gzip.compress(r, mtime=0) for r in records)


def read(data: bytes, max_links: int = 1000, max_record_bytes: int = 1 << 22):
    """(rows as dicts, accounts by unit) of an archive's bytes."""
    rows = PairRows("test.warc.gz", max_links)
    batches = list(read_archive(io.BytesIO(data), rows, max_record_bytes, 100))
    accounts: dict[str, Account] = {a.unit: a for a in (rows.records, rows.links, rows.pairs)}
    for account in accounts.values():
        account.check("test")
    found = [row for batch in batches for row in batch.to_pylist()]
    assert accounts["pairs"].kept == sum(row["caption"] is not None for row in found)
    return found, accounts


def page(body: str | bytes, **more):
    """(url, caption, kind) rows and the reasons of one HTML page."""
    data = body.encode() if isinstance(body, str) else body
    rows, accounts = read(gz(response(data, **more)))
    return [(r["url"], r["caption"], r["caption_kind"]) for r in rows], dict(
        accounts["links"].dropped
    )
