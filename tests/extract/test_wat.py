"""The WAT kernel: real records against a whole JSON parser, layouts of other orders, broken JSON."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import CaptionKind as K
from pipeline.core.reasons import RecordReason
from pipeline.extract.findings import Findings, collect, read_pages
from pipeline.extract.found import Found
from pipeline.extract.page import Page, open_page
from pipeline.extract.records import read_records
from tests.extract.pages import URL, links

_WHITE = " \t\n\f\r"


def read_wat(*bodies: bytes, max_links: int = 10_000) -> Findings:
    pages = [Page(URL, 0, True, body) for body in bodies]
    found = Found()
    read_pages(pages, max_links, found)
    return collect(max_links, found)


def envelope(
    links: list[dict[str, str]] | None = None, status: object = "200", **more: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Response-Message": {"Status": status, "Reason": more.get("reason", "OK")},
        "Headers": more.get("headers", {}),
    }
    if links is not None:
        found["HTML-Metadata"] = {"Head": more.get("head", {}), "Links": links}
    return {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": found}}}


def by_json(body: bytes) -> list[tuple[str, dict[K, str]]] | None:
    """The images of a record by Python's own parser; None when it is no page."""
    payload = json.loads(body)["Envelope"]["Payload-Metadata"]
    response = payload.get("HTTP-Response-Metadata")
    if not response or "HTML-Metadata" not in response:
        return None
    message = response["Response-Message"]
    doubled = message["Status"] == "0" and message["Reason"].startswith("200")
    if message["Status"] != "200" and not doubled:
        return None
    found = []
    for link in response["HTML-Metadata"].get("Links", []):
        if link.get("path") == "IMG@/src":
            captions = {K.ALT: link.get("alt", ""), K.TITLE: link.get("title", "")}
            found.append(
                (link.get("url", ""), {k: t for k, t in captions.items() if t.strip(_WHITE)})
            )
    return found


@pytest.mark.parametrize(
    ("link", "captions"),
    [
        ('{"path":"IMG@/src"}', 0),
        ('{"path""IMG@/src"}', 0),  # no JSON, but read leniently: the least that an image takes
        ('{"path""IMG@/src""alt""x""title""x"}', 2),
    ],
)
def test_there_is_room_for_as_many_images_as_a_record_can_hold(link: str, captions: int) -> None:
    body = json.dumps(envelope([])).replace('"Links": []', '"Links": [' + link * 9000 + "]")
    found = read_wat(body.encode(), body.encode())
    assert found.reasons == [None, None] and not found.over_cap.any()
    assert len(found.sources) == 18_000 and len(found.captions) == 18_000 * captions


def test_real_records(real_data: Path) -> None:
    pages = images = 0
    for path in sorted((real_data / "wat").glob("*.wat.gz")):
        with path.open("rb") as file:
            for record in read_records(file, 1 << 25):
                page = open_page(record, 1 << 25)
                if not isinstance(page, Page):
                    continue
                expected, found = by_json(page.body), read_wat(page.body)
                if expected is None:
                    assert found.reasons[0] is not None
                    continue
                assert found.reasons == [None], found.reasons
                of_elements = [
                    (source, texts)
                    for source, texts in links(found)
                    if K.META_ALT not in texts and not source.startswith("data:")
                ]
                wanted = [link for link in expected if not link[0].startswith("data:")]
                for link in wanted:
                    assert link in of_elements, link
                assert len(of_elements) >= len(wanted)
                pages, images = pages + 1, images + len(wanted)
    assert pages > 1600 and images > 24_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (envelope([]), None),
        (envelope([], status=200), None),
        (envelope([], status="0", reason="200 OK"), None),
        (envelope([], status="404"), RecordReason.HTTP_STATUS),
        (envelope([], status=2000), RecordReason.HTTP_STATUS),
        (envelope([], status="0", reason="404 gone"), RecordReason.HTTP_STATUS),
        (envelope(None), RecordReason.NOT_HTML),
        ({"Envelope": {"Payload-Metadata": {"WARC-Info-Metadata": {}}}}, RecordReason.NOT_A_PAGE),
        ({}, RecordReason.NOT_A_PAGE),
    ],
)
def test_what_is_no_page_says_why(data: dict[str, Any], reason: RecordReason | None) -> None:
    assert read_wat(json.dumps(data).encode()).reasons == [reason]


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"null", b"[]", b'"x"', b"12", b"{", b'{"a":', b"}", b"{}}", b'{"Envelope":{"x":"',
     json.dumps(envelope([{"path": "IMG@/src", "url": "x"}])).encode()[:-2],
     json.dumps(envelope([{"text": "t" * 300}])).encode()[:-5] + b",{"],
)  # fmt: skip
def test_broken_json_gives_a_reason_and_nothing_else(body: bytes) -> None:
    good = json.dumps(envelope([{"path": "IMG@/src", "url": "x", "alt": "a"}])).encode()
    found = read_wat(good, body, good)
    assert found.reasons[0] is None and found.reasons[2] is None
    assert found.reasons[1] in (RecordReason.UNPARSABLE, RecordReason.NOT_A_PAGE, None)
    assert found.link_pages.tolist() == [0, 2] and len(found.captions) == 2


def test_what_is_no_page_leaves_no_text_behind() -> None:
    whole = json.dumps(envelope([{"path": "A@/href", "text": "first"}] * 3)).encode()
    no_page = whole.replace(b'"Response-Message"', b'"Something"').replace(b"first", b"other")
    found = read_wat(no_page, whole, no_page)
    assert found.reasons == [RecordReason.NOT_A_PAGE, None, RecordReason.NOT_A_PAGE]
    assert found.samples.to_pylist() == ["", "first first first ", ""]


def test_order_of_keys_white_space_and_nesting_do_not_matter() -> None:
    image = {
        "alt": "A",
        "nested": {"path": "A@/href", "url": ["no"]},
        "title": "T",
        "url": "x",
        "path": "IMG@/src",
    }
    other = [{"text": "t", "url": "y", "path": "A@/href", "deep": [[{"a": "}]"}]]}] * 40
    body = json.dumps(envelope([*other, image, *other, image]), indent=2).encode()
    assert links(read_wat(body)) == [("x", {K.ALT: "A", K.TITLE: "T"})] * 2


@given(st.text(max_size=40), st.text(max_size=40))
def test_strings_are_unescaped(url: str, alt: str) -> None:
    image = {"path": "IMG@/src", "url": url, "alt": alt}
    for ascii_only in (True, False):
        body = json.dumps(envelope([image]), ensure_ascii=ascii_only).encode(
            "utf-8", "surrogatepass"
        )
        try:
            body.decode()
        except UnicodeDecodeError:
            return
        ((source, captions),) = links(read_wat(body))
        if not url.lower().startswith("data:"):
            assert (
                source == url.encode("utf-8", "replace").decode()
                or "\ud800" <= max(url) <= "\udfff"
            )
        if alt.strip(_WHITE):
            assert captions == {K.ALT: alt} or "\ud800" <= max(alt) <= "\udfff"
        else:  # normalisation drops what an escape hides
            assert captions in ({}, {K.ALT: alt})


def test_facts_of_the_page() -> None:
    head = {
        "Base": "https://other.example/x/",
        "Title": "The title",
        "Metas": [
            {"name": "HTML@/lang", "content": "ko-KR"},
            {"name": "description", "content": "What it is"},
            {"name": "robots", "content": "noai"},
            {"name": "googlebot", "content": "noindex"},
            {"http-equiv": "tdm-reservation", "content": "1"},
            {"property": "og:image", "content": "o.jpg"},
            {"property": "og:image:alt", "content": "An og"},
        ],
    }
    headers = {"x-ROBOTS-tag": ["bingbot: noindex", "noimageai"], "TDM-Reservation": "0", "X": "y"}
    texts = [{"path": "A@/href", "url": "p", "text": "Read on"}]
    found = read_wat(json.dumps(envelope(texts, head=head, headers=headers)).encode())
    assert found.bases.to_pylist() == ["https://other.example/x/"]
    assert found.langs.to_pylist() == ["ko-KR"]
    assert found.samples[0].as_py() == "The title What it is Read on "
    assert found.stated[0].optout == "x-robots-tag:noimageai"
    assert found.stated[0].robots_meta == "robots: noai; googlebot: noindex"
    assert found.stated[0].robots_tag == "bingbot: noindex; noimageai"
    assert found.stated[0].tdm == "header:0; meta:1"
    assert links(found) == [("o.jpg", {K.META_ALT: "An og"})]


def test_mangled_records_never_fail() -> None:
    rng = random.Random(5)
    image = {"path": "IMG@/src", "url": "x\u00e9\\", "alt": 'A "b" \U0001f600'}
    good = json.dumps(envelope([image, {"path": "A@/href", "text": "t"}] * 20)).encode()
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(body))
            body[at : at + rng.choice([0, 1, 30])] = rng.choice(
                [
                    b'"',
                    b"\\",
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b",",
                    b"\\u",
                    b"\\ud83d",
                    b"\0",
                    b"",
                    b"\xe9",
                    b"\xf0\x9f",
                ]
            )
        found = read_wat(bytes(body))
        assert (found.reasons[0] is None) or not len(found.sources)


PLACES = ("url", "alt", "title", "base", "name", "text", "meta", "header", "unread")


@given(st.lists(st.dictionaries(st.sampled_from(PLACES), st.binary(max_size=9)), max_size=4))
def test_text_that_is_not_utf8_is_read_as_a_decoder_replaces_it(pages: list) -> None:
    bodies = []
    for texts in pages:
        tags = [
            {"path": "IMG@/src", "url": "urlMARK", "alt": "altMARK", "title": "titleMARK"},
            {"path": "A@/href", "url": "/x", "text": "A few words to be the sample textMARK"},
            {"path": "IMG@/src", "url": "/last.jpg", "alt": "the last"},
        ]
        head = {"Base": "baseMARK", "Title": "nameMARK"}
        head["Metas"] = [{"property": "og:image", "content": "metaMARK"}]
        headers = {"X-Robots-Tag": "headerMARK", "Server": "unreadMARK"}
        body = json.dumps(envelope(tags, headers=headers, head=head)).encode()
        for place in PLACES:
            plain = re.sub(rb'["\\\x00-\x1f]', b"", texts.get(place, b""))
            body = body.replace(f"{place}MARK".encode(), place.encode() + plain)
        bodies.append(body)
    if bodies:
        found = read_wat(*bodies)
        expected = read_wat(*(body.decode("utf-8", "replace").encode() for body in bodies))
        for name in ("reasons", "bases", "langs", "stated"):
            assert getattr(found, name) == getattr(expected, name), name
        for name in ("samples", "sources", "captions"):
            assert getattr(found, name).to_pylist() == getattr(expected, name).to_pylist(), name
        for page in range(len(bodies)):
            assert links(found, page) == links(expected, page)
            assert found.reasons[page] is None and len(links(found, page)) == 3
