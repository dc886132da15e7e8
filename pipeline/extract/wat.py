"""Image links of a page from its WAT record: only the needed fields of the JSON are decoded.

Source of the layout: Common Crawl's WAT extractor (ia-web-commons, ExtractingParseObserver):
`IMG@/src` links have url, alt and title; there is no srcset, lazy attribute or figcaption.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from pipeline.core.reasons import CaptionKind, RecordReason
from pipeline.extract.page import Link, Page


class _Link(Struct):
    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None


class _Meta(Struct):
    name: str | None = None
    http_equiv: str | None = field(default=None, name="http-equiv")
    content: str | None = None


class _Head(Struct):
    base: str | None = field(default=None, name="Base")
    metas: list[_Meta] = field(default_factory=list, name="Metas")


class _Html(Struct):
    head: _Head | None = field(default=None, name="Head")
    links: list[_Link] = field(default_factory=list, name="Links")


class _Message(Struct):
    status: str | int | None = field(default=None, name="Status")
    reason: str | None = field(default=None, name="Reason")

    @property
    def is_ok(self) -> bool:
        """A doubled version ("HTTP/1.1 HTTP/1.1 200 OK") leaves the code in the reason."""
        return str(self.status) == "200" or (
            str(self.status) == "0" and (self.reason or "").startswith("200")
        )


class _Response(Struct):
    message: _Message | None = field(default=None, name="Response-Message")
    headers: dict[str, Any] = field(default_factory=dict, name="Headers")
    html: _Html | None = field(default=None, name="HTML-Metadata")


class _Payload(Struct):
    response: _Response | None = field(default=None, name="HTTP-Response-Metadata")


class _Envelope(Struct):
    payload: _Payload | None = field(default=None, name="Payload-Metadata")


class _Wat(Struct):
    envelope: _Envelope | None = field(default=None, name="Envelope")


_decoder = msgspec.json.Decoder(_Wat)


def read_page(body: bytes, max_links: int) -> Page | RecordReason:
    """The page that a WAT record describes, or why it describes none. Never raises."""
    try:
        found = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return RecordReason.UNPARSABLE
    payload = found.envelope.payload if found.envelope else None
    response = payload.response if payload else None
    if response is None:
        return RecordReason.NOT_A_PAGE
    if response.message is None or not response.message.is_ok:
        return RecordReason.HTTP_STATUS
    if response.html is None:
        return RecordReason.NOT_HTML
    return _page(response, response.html, max_links)


def _page(response: _Response, html: _Html, max_links: int) -> Page:
    page = Page()
    for name, value in response.headers.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                page.headers.append((name.lower(), one))
    if html.head:
        page.base_href = html.head.base
        for meta in html.head.metas:
            if meta.name == "HTML@/lang":
                page.lang = page.lang or meta.content
            elif (named := meta.name or meta.http_equiv) and meta.content:
                page.metas.append((named, meta.content))
    for link in html.links:
        if link.path != "IMG@/src":
            continue
        if len(page.links) >= max_links:
            page.links_over_cap += 1
            continue
        captions = []
        if link.alt is not None:
            captions.append((CaptionKind.ALT, link.alt))
        if link.title is not None:
            captions.append((CaptionKind.TITLE, link.title))
        page.links.append(Link(link.url or "", captions))
    return page
