"""The page that a record holds: its bytes, and what its response says about it."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from pipeline.core.reasons import RecordReason
from pipeline.extract import charset, urls
from pipeline.extract.heads import NOTHING
from pipeline.extract.http import parse_response
from pipeline.extract.record import Record
from pipeline.extract.stretch import Stretch

Reasons = Counter[RecordReason]

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")
_STATED = frozenset(("x-robots-tag", "tdm-reservation", "tdm-policy"))


class Page(NamedTuple):
    """One page, not yet read.

    url: its address; of HTML, in WHATWG form. offset: of its record in the archive, in bytes.
    is_wat: the body is WAT metadata as it is stored, else HTML in UTF-8. stated: the headers about
    use, names in lower case.
    """

    url: str
    offset: int
    is_wat: bool
    body: bytes
    stated: tuple[tuple[str, str], ...] = ()


def open_pages(found: Stretch | Record, max_body_bytes: int) -> tuple[list[Page], Reasons]:
    """The pages that records hold, in order, and how many hold none, by reason."""
    if isinstance(found, Record):
        page = open_page(found, max_body_bytes)
        return ([], Counter([page])) if isinstance(page, RecordReason) else ([page], Counter())
    held = found.holds
    rows = np.flatnonzero(held != NOTHING).tolist()
    reasons: Reasons = Counter({RecordReason.NOT_A_PAGE: len(held) - len(rows)})
    pages: list[Page] = []
    for row in rows:
        if isinstance(page := open_page(found.record(row), max_body_bytes), RecordReason):
            reasons[page] += 1
        else:
            pages.append(page)
    return pages, reasons


def open_page(record: Record, max_body_bytes: int) -> Page | RecordReason:
    """The page a record holds, or why it holds none. What it is is seen from the record itself:
    a WAT record is metadata in JSON, a page an HTTP response (or a resource) in HTML."""
    if record.reason is not None:
        return record.reason
    if record.kind == "metadata":
        if not record.content_type.startswith("application/json"):
            return RecordReason.NOT_A_PAGE
        if b'"HTTP-Response-Metadata"' not in record.block:
            return RecordReason.NOT_A_PAGE  # of a request or of the archive itself: most records
        return Page(record.url or "", record.offset, True, record.block)
    if record.kind == "resource":
        if not record.content_type.startswith(_HTML_TYPES):
            return RecordReason.NOT_A_PAGE
        return _html(record, record.block, record.content_type, ())
    if record.kind != "response" or not record.content_type.startswith("application/http"):
        return RecordReason.NOT_A_PAGE
    response = parse_response(record.block, max_body_bytes)
    if response is None:
        return RecordReason.UNPARSABLE
    if response.status != 200:
        return RecordReason.HTTP_STATUS
    content_type = response.header("content-type")
    if not _is_html(content_type, response.body):
        return RecordReason.NOT_HTML
    stated = tuple((name, value) for name, value in response.headers if name in _STATED)
    return _html(record, response.body, content_type, stated)


def _html(
    record: Record, body: bytes, content_type: str | None, stated: tuple[tuple[str, str], ...]
) -> Page | RecordReason:
    url = urls.page_url(record.url)
    if url is None:
        return RecordReason.NOT_A_PAGE
    return Page(url, record.offset, False, charset.to_utf8(body, content_type), stated)


def _is_html(content_type: str | None, body: bytes) -> bool:
    if content_type:
        return content_type.strip().lower().startswith(_HTML_TYPES)
    start = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\f").lower()
    return start.startswith(_STARTS)
