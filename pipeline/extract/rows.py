"""Archives to rows of PAIRS: pages are read, links judged, rows built column by column."""

from collections.abc import Iterable, Iterator
from typing import IO

import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.ids import pair_id
from pipeline.core.reasons import CaptionKind, LinkReason, RecordReason
from pipeline.core.tables import PAIRS
from pipeline.extract import charset, html, urls, wat
from pipeline.extract.captions import normalise
from pipeline.extract.http import parse_response
from pipeline.extract.optout import page_optout
from pipeline.extract.page import Link, Page
from pipeline.extract.records import Record, read_records

_HTML_TYPES = ("text/html", "application/xhtml+xml")
# The first of equal texts names the kind.
_KIND_ORDER = {kind: i for i, kind in enumerate(CaptionKind)}


class PairRows:
    """Collects rows of PAIRS as columns.

    records: kept = pages, dropped by RecordReason. links: kept = image links that gave at least
    one pair, dropped by LinkReason. pairs: the rows; more than the kept links, as a link gives
    one row for each distinct caption (alt, title, figcaption, aria-label).
    """

    def __init__(self, archive: str) -> None:
        self.archive = archive
        self.records = Account("records")
        self.links = Account("links")
        self.pairs = Account("pairs")
        self._columns: dict[str, list[object]] = {name: [] for name in PAIRS.schema.names}

    def __len__(self) -> int:
        return len(self._columns["image_id"])

    def add_page(self, page_url: str, page: Page, offset: int) -> None:
        """Judge a page's links and add a row for each caption of those that are good."""
        self.records.keep()
        if page.links_over_cap:
            self.links.drop(LinkReason.OVER_PAGE_CAP, page.links_over_cap)
        if not page.links:
            return
        base = urls.base_url(page_url, page.base_href)
        optout = page_optout(page.headers, page.metas) if page.headers or page.metas else None
        lang = normalise(page.lang)[:35] if page.lang else None
        domain = urls.registrable_domain(urls.host_of(page_url))
        rows = 0
        for position, link in enumerate(page.links):
            rows += self._add_link(link, base, offset, position)
        if rows:
            self.pairs.keep(rows)
            columns = self._columns
            columns["page_url"].extend([page_url] * rows)
            columns["page_domain"].extend([domain] * rows)
            columns["page_lang"].extend([lang or None] * rows)
            columns["page_optout"].extend([optout] * rows)

    def _add_link(self, link: Link, base: str, offset: int, position: int) -> int:
        captions = _distinct(link.captions)
        # A link may have several faults; that of its URL is told first.
        image = urls.resolve(link.src, base)
        if isinstance(image, LinkReason):
            self.links.drop(image)
            return 0
        if not captions:
            self.links.drop(LinkReason.NO_CAPTION)
            return 0
        self.links.keep()
        columns = self._columns
        for text, kind in captions.items():
            columns["image_id"].append(image.image_id)
            columns["pair_id"].append(pair_id(image.image_id, text))
            columns["url"].append(image.url)
            columns["canonical_url"].append(image.canonical_url)
            columns["domain"].append(image.domain)
            columns["caption"].append(text)
            columns["caption_kind"].append(kind)
            columns["record_offset"].append(offset)
            columns["position"].append(position)
        return len(captions)

    def take(self) -> pa.RecordBatch:
        """The rows so far, and start anew."""
        columns, schema = self._columns, PAIRS.schema
        rows = len(self)
        archive = pa.DictionaryArray.from_arrays(
            pa.nulls(rows, pa.int8()).fill_null(0), pa.array([self.archive])
        ).cast(pa.string())
        columns["caption_kinds"] = [0] * rows
        columns["page_lang_detected"] = ["und"] * rows
        arrays = [
            archive
            if name == "archive"
            else pa.array(columns[name] or [None] * rows, schema.field(name).type)
            for name in schema.names
        ]
        self._columns = {name: [] for name in schema.names}
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _distinct(captions: list[tuple[CaptionKind, str]]) -> dict[str, str]:
    """Normalised text -> kind, of distinct non-empty texts."""
    if len(captions) > 1:
        captions = sorted(captions, key=lambda item: _KIND_ORDER[item[0]])
    found: dict[str, str] = {}
    for kind, text in captions:
        if text and (clean := normalise(text)) and clean not in found:
            found[clean] = kind.value
    return found


def read_page(record: Record, max_links: int, max_body_bytes: int) -> Page | RecordReason:
    """The page a record holds, or why it holds none. What it is is seen from the record itself:
    a WAT record is metadata in JSON, a page an HTTP response (or a resource) in HTML."""
    if record.reason is not None:
        return record.reason
    if record.kind == "metadata":
        if not record.content_type.startswith("application/json"):
            return RecordReason.NOT_A_PAGE
        return wat.read_page(record.block, max_links)
    if record.kind == "resource":
        if not record.content_type.startswith(_HTML_TYPES):
            return RecordReason.NOT_A_PAGE
        body = charset.to_utf8(record.block, record.content_type)
        return html.read_page(body, max_links)
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
    page = html.read_page(charset.to_utf8(response.body, content_type), max_links)
    page.headers = response.headers
    return page


def _is_html(content_type: str | None, body: bytes) -> bool:
    if content_type:
        return content_type.strip().lower().startswith(_HTML_TYPES)
    start = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\f").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"))


def read_archive(
    file: IO[bytes],
    rows: PairRows,
    max_record_bytes: int,
    max_links_per_page: int,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Batches of PAIRS from one archive; `rows` keeps the accounts.

    file: a seekable gzip or plain WARC or WAT file. Memory: one record and one batch.
    """
    records = read_records(file, max_record_bytes)
    return read_pages(records, rows, max_record_bytes, max_links_per_page, batch_rows)


def read_pages(
    records: Iterable[Record],
    rows: PairRows,
    max_record_bytes: int,
    max_links_per_page: int,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Batches of PAIRS from records; `rows` keeps the accounts.

    When a batch is given out, all records taken so far are in it or in an earlier one, and counted.
    """
    for record in records:
        page = read_page(record, max_links_per_page, max_record_bytes)
        if isinstance(page, RecordReason):
            rows.records.drop(page)
            continue
        page_url = urls.page_url(record.url)
        if page_url is None:
            rows.records.drop(RecordReason.NOT_A_PAGE)
            continue
        rows.add_page(page_url, page, record.offset)
        if len(rows) >= batch_rows:
            yield rows.take()
    if len(rows):
        yield rows.take()
