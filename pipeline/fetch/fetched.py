"""What asking for one URL gave."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.guard import Target
from pipeline.fetch.ledger import Known

_MAX_VALIDATOR_CHARS = 200


@dataclass
class Fetched:
    """What asking for one URL gave. `body` is set when status is OK; `reserved_bytes` of body
    memory are then to be released. moved_to: another host has it; it is to be asked for there,
    `hops` redirects later."""

    status: Status = Status.OK
    detail: str | None = None
    consent: str = "unknown"
    http_status: int | None = None
    final_url: str | None = None
    content_type: str | None = None
    body: bytes | None = None
    etag: str | None = None
    last_modified: str | None = None
    fetch_ms: int = 0
    retry_after_s: float | None = None
    reserved_bytes: int = 0
    moved_to: Target | None = None
    hops: int = 0


def conditions_of(known: Known, url: str) -> Mapping[str, str]:
    """Headers that ask for a picture only if it is another one; of a released one for its first
    byte, so that the connection can serve again. Source: RFC 9110, sections 13.1 and 14.2."""
    if known.is_released:
        return {"Range": "bytes=0-0"}
    if url != known.final_url:
        return {}
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in conditions.items() if value}


def note(response: aiohttp.ClientResponse, target: Target, found: Fetched) -> None:
    """Note what the head of a response says."""
    found.http_status = response.status
    found.final_url = target.href
    kind = response.headers.get("Content-Type")
    found.content_type = kind[:200] if kind else None
    # What is cut would match nothing.
    etag, last_modified = (response.headers.get(name) for name in ("ETag", "Last-Modified"))
    found.etag = etag if etag and len(etag) <= _MAX_VALIDATOR_CHARS else None
    is_date = last_modified and len(last_modified) <= _MAX_VALIDATOR_CHARS
    found.last_modified = last_modified if is_date else None
