"""WAT records that are read from their members in one go, beside the same records one by one."""

import gzip
import io
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.accounts import Account
from pipeline.core.reasons import RecordReason
from pipeline.extract.inflate import INNER, OFFSET, STEPS, new_watch
from pipeline.extract.isolated import IsolatedReader
from pipeline.extract.record import Record
from pipeline.extract.records import read_many, read_records
from pipeline.extract.rows import PairRows, read_rows
from pipeline.extract.stretch import Stretch
from pipeline.extract.task import Limits
from pipeline.extract.wat_members import WatRecords
from tests.extract.archive import gz, record, response, wat
from tests.extract.test_rows import html_page

MAX_BYTES = 1 << 22
Rows = list[dict[str, object]]


def other(i: int) -> bytes:
    kind = "application/http; msgtype=request"
    return record("request", f"https://page.example/{i}", kind, b"GET / HTTP/1.1")


def warcinfo() -> bytes:
    block = b"software: x\r\n"
    head = (
        "WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"Content-Type: application/warc-fields\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page(i: int, images: int = 3) -> bytes:
    links = [
        {"path": "IMG@/src", "url": f"/{i}/{k}.jpg", "alt": f"그림 {i} of {k}", "title": "A title"}
        for k in range(images)
    ]
    links.insert(1, {"path": "A@/href", "url": "/x", "text": "A few words to tell the language by"})
    head = {"Metas": [{"name": "robots", "content": "noimageai"}]} if i % 3 == 0 else {}
    return wat(links, url=f"https://page.example/{i}", head=head)


def _kinds(seen: Iterable[object], into: list[type]) -> Iterable[object]:
    for found in seen:
        into.append(type(found))
        yield found


def read(data: bytes, *, at_once: bool, max_links: int = 1000) -> tuple[Rows, list[Account], list]:
    """(rows by place, accounts, types of what came) of an archive."""
    rows, kinds = PairRows("x", max_links), []
    if at_once:
        records = read_many(io.BytesIO(data), MAX_BYTES, wat=rows.wat)
    else:
        records = read_records(io.BytesIO(data), MAX_BYTES)
    found = [
        row
        for batch in read_rows(_kinds(records, kinds), rows, MAX_BYTES, 100)
        for row in batch.to_pylist()
    ]
    found.sort(key=lambda r: (r["record_offset"], r["position"], r["caption"] or ""))
    return found, [rows.records, rows.links, rows.pairs], kinds


def check(data: bytes, max_links: int = 1000) -> list[type]:
    """Both ways give the same; the types of what came at once."""
    rows, accounts, kinds = read(data, at_once=True, max_links=max_links)
    expected, counted, _ = read(data, at_once=False, max_links=max_links)
    assert rows == expected and accounts == counted
    return kinds


def test_an_archive_of_wat_records_is_read_in_a_few_goes() -> None:
    data = gz(warcinfo(), *(make(i) for i in range(300) for make in (other, page, other)))
    kinds = check(data)
    assert Record not in kinds and kinds.count(Stretch) < 10 and WatRecords in kinds


def test_pages_that_take_much_room_are_read_all_the_same() -> None:
    """Arrays grow where a page may need more than there is, also for the first one."""
    made = [page(i, images) for i, images in enumerate((3, 3, 2000, 5, 12_000, 1, 40_000, 2))]
    rows, accounts, kinds = read(gz(*made), at_once=True, max_links=30_000)
    assert kinds.count(WatRecords) >= 3
    assert accounts[2].kept == 2 * (3 + 3 + 2000 + 5 + 12_000 + 1 + 30_000 + 2) == len(rows)
    assert accounts[1].dropped == {"over_page_cap": 10_000}
    check(gz(*made), 30_000)


def test_html_between_wat_records_keeps_its_place() -> None:
    makers = [page] * 40 + [html_page] + [page] * 9 + [html_page, html_page, other] + [page] * 70
    kinds = check(gz(*(make(i) for i, make in enumerate(makers))))
    assert {Stretch, WatRecords} <= set(kinds)


@pytest.mark.parametrize(
    "odd",
    [
        gzip.compress(page(1) + page(2), mtime=0),  # two records of one member
        gzip.compress(page(1)[:-4], mtime=0),  # no empty line at its end
        gzip.compress(page(1).replace(b"application/json", b"text/x-odd"), mtime=0),
        gzip.compress(page(1).replace(b"https://page.example/1", b"<https://page.example/1>"), 9),
        gzip.compress(page(1).replace(b"https://page.example/1", b">https://page.example/1"), 9),
        gzip.compress(page(1).replace(b"https://page.example/1", b"https://page.example/1<"), 9),
        gzip.compress(page(1).replace(b"page.example/1", "page.example/é".encode()), mtime=0),
        gzip.compress(page(1).replace(b"page.example/1", b"page.example/\xff"), mtime=0),
        gzip.compress(page(1).replace(b"/1/0.jpg", b"/1/\xff.jpg"), mtime=0),
        gzip.compress(page(1).replace(b"WARC-Date", b"X: WARC/1.0\r\nWARC-Date"), mtime=0),
        gzip.compress(page(1).replace(b"https://page.example/1", b"dns:page.example"), mtime=0),
        gzip.compress(page(1), mtime=0)[:-3] + b"\0\0\0",  # a wrong checksum
        gzip.compress(wat([], status="404"), mtime=0),
        b"\0" * 50,
        gz(record("metadata", "https://page.example/", "application/json", b"[]")),
        gz(response(b"<img src=/a.jpg alt='An image'>")),
        gz(warcinfo()),
    ],
    ids=range(17),
)
def test_what_is_odd_is_read_as_one_by_one(odd: bytes) -> None:
    before, after = gz(*map(page, range(30))), gz(*map(page, range(50, 99)))
    kinds = check(before + odd + after)
    assert WatRecords in kinds
    check(odd + after)
    check(before + odd)
    assert WatRecords in check(before + odd + before + odd + odd + after)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([0.02, 0.2]))
def test_damage_costs_what_it_costs_one_by_one(seed: int, share: float) -> None:
    chance = random.Random(seed)
    members = []
    for i in range(60):
        plain = bytearray(chance.choice((page, page, other))(i))
        if chance.random() < share:
            for _ in range(chance.randint(1, 4)):
                plain[chance.randrange(len(plain))] = chance.randrange(256)
        member = bytearray(gzip.compress(bytes(plain), mtime=0))
        if chance.random() < share / 2:
            member[chance.randrange(len(member))] ^= 1 << chance.randrange(8)
        if chance.random() < share / 4:
            del member[chance.randrange(len(member)) :]
        members.append(bytes(member))
    check(b"".join(members))


def test_real_archives_give_the_same_rows_either_way(real_data: Path) -> None:
    kinds = []
    for path in sorted((real_data / "wat").glob("*.wat.gz")):
        kinds += check(path.read_bytes()[: 4 << 20])
    assert WatRecords in kinds


def test_a_member_to_be_skipped_is_not_inflated() -> None:
    members = [gzip.compress(page(i), mtime=0) for i in range(60)]
    offsets = np.cumsum([0, *map(len, members)]).tolist()
    rows = PairRows("x", 1000)
    bad = members[:40] + [b"\x1f\x8b\x08" + b"\0" * (len(members[40]) - 3)] + members[41:]
    skip = {offsets[40]}
    records = read_many(io.BytesIO(b"".join(bad)), MAX_BYTES, skip=skip, wat=rows.wat)
    for _ in read_rows(records, rows, MAX_BYTES, 100):
        pass
    assert rows.records.kept == 59 and rows.records.dropped == {RecordReason.CRASHED: 1}


def test_each_record_is_noted_before_it_is_read() -> None:
    members = [gzip.compress(make(i), mtime=0) for i in range(50) for make in (page, other)]
    offsets = np.cumsum([0, *map(len, members)]).tolist()
    watch, rows, last = new_watch(), PairRows("x", 1000), -1
    for found in read_many(io.BytesIO(b"".join(members)), MAX_BYTES, watch=watch, wat=rows.wat):
        if isinstance(found, WatRecords):
            assert found.last in offsets and last < found.last <= watch[OFFSET]
            last = found.last
    assert last == offsets[-2]
    assert watch[STEPS] >= len(members) and watch[INNER] == 0


@pytest.fixture(scope="module")
def crashing() -> Iterator[IsolatedReader]:
    reader = IsolatedReader(Limits(timeout_s=60.0), 5, "tests.extract.wat_crasher")
    yield reader
    reader.close()


@pytest.mark.parametrize("how", [b"CRASH-raise", b"CRASH-kill"])
@pytest.mark.parametrize("last", [[], [other(1)]], ids=["page", "no page"])
def test_what_dies_of_a_page_that_was_read_at_once_costs_that_page(
    tmp_path: Path, crashing: IsolatedReader, how: bytes, last: list[bytes]
) -> None:
    body = page(7).partition(b"\r\n\r\n")[2][:-4].replace(b"A title", how)
    bad = record("metadata", "https://page.example/bad", "application/json", body)
    path = tmp_path / "x.wat.gz"
    path.write_bytes(gz(*map(page, range(40)), bad, *map(page, range(50, 90)), *last))
    told = [Account("records"), Account("links"), Account("pairs")]
    rows = [row for batch in crashing.read(str(path), told) for row in batch.to_pylist()]
    assert {row["page_url"] for row in rows} == {
        f"https://page.example/{i}" for i in (*range(40), *range(50, 90))
    }
    expected = {"crashed": 1, **({"not_a_page": 1} if last else {})}
    assert (told[0].kept, told[0].dropped) == (80, expected)


def test_texts_are_utf8_each_by_itself() -> None:
    """Two halves of a character in texts that follow one another make no text of either."""
    link = {"path": "IMG@/src", "url": "/aURL", "alt": "ALTb", "title": "TITLE"}
    body = json.dumps(
        {
            "Envelope": {
                "Payload-Metadata": {
                    "HTTP-Response-Metadata": {
                        "Response-Message": {"Status": "200"},
                        "Headers": {},
                        "HTML-Metadata": {"Links": [link]},
                    }
                }
            }
        }
    ).encode()
    body = body.replace(b"URL", b"\xea\xb0").replace(b"ALT", b"\x80").replace(b"TITLE", b"\xc3")
    data = gz(record("metadata", "https://page.example/", "application/json", body))
    found, _, _ = read(gz(*map(page, range(9))) + data, at_once=True)
    captions = {row["caption"] for row in found if row["page_url"] == "https://page.example/"}
    assert captions == {"\ufffdb", "\ufffd"}
    check(gz(*map(page, range(9))) + data)
