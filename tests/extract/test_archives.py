"""Whole archives: real ones, cut ones, damaged ones, mutated ones."""

import gzip
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.core.errors import InputError
from pipeline.extract.archives import list_archives
from pipeline.extract.captions import normalise_text
from pipeline.extract.findings import collect, read_pages
from pipeline.extract.found import Found
from pipeline.extract.page import Page, open_page
from pipeline.extract.records import read_records
from pipeline.extract.rows import PairRows, read_archive
from tests.extract.archive import gz, read, response
from tests.extract.archive import wat as wat_record

PAGES = [response(f"<img src={i}.jpg alt='image {i}'>".encode() + b"x" * 3000) for i in range(9)]
MEMBERS = [gzip.compress(page, mtime=0) for page in PAGES]


def _names(data: bytes) -> tuple[set[str], dict[str, int]]:
    rows, accounts = read(data)
    return {row["caption"] for row in rows}, dict(accounts["records"].dropped)


def _all_but(*lost: int) -> set[str]:
    return {f"image {i}" for i in range(9) if i not in lost}


def test_reasons_of_records() -> None:
    body = b"<img src=x alt=a>"
    _, accounts = read(
        gz(
            response(body),
            response(body, status="404 Not Found"),
            response(b"\xff\xd8\xff", content_type="image/jpeg"),
            response(b"\x00" * 5000, content_type=None),
            response(b"<!doctype html>" + body, content_type=None),
            response(body, status="HTTP/1.1 200 OK"),
            response(b"x" * 200_000),
            wat_record([{"path": "IMG@/src", "url": "x", "alt": "a"}]),
            wat_record([], status="301"),
        ),
        max_record_bytes=100_000,
    )
    assert accounts["records"].kept == 4
    assert accounts["records"].dropped == {"http_status": 2, "not_html": 2, "too_large": 1}


@pytest.mark.parametrize("encoding", ["gzip", "chunked", "lies"])
def test_transfer_and_content_encodings_are_undone(encoding: str) -> None:
    body = b"<html><img src=x alt='a caption'></html>"
    headers = "Content-Encoding: gzip\r\n"
    if encoding == "gzip":
        body = gzip.compress(body)
    elif encoding == "chunked":
        headers = "Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%s\r\n%x;ext=1\r\n%s\r\n0\r\n\r\n" % (
            20,
            body[:20],
            len(body) - 20,
            body[20:],
        )
    rows, _ = read(gz(response(body, headers=headers)))
    assert [row["caption"] for row in rows] == ["a caption"]


@pytest.mark.parametrize("at", [0, 4, 8])
def test_corrupt_member_costs_itself(at: int) -> None:
    damaged = bytearray(MEMBERS[at])
    damaged[30:40] = b"\x55" * 10
    data = b"".join([*MEMBERS[:at], bytes(damaged), *MEMBERS[at + 1 :]])
    assert _names(data) == (_all_but(at), {"corrupt": 1})


def test_two_damaged_members_and_junk_between() -> None:
    parts = [bytearray(m) for m in MEMBERS]
    parts[2][0] = 0
    parts[6][-6] ^= 255  # checksum
    data = b"".join([*parts[:4], b"junk" * 500, *parts[4:]])
    names, dropped = _names(data)
    assert names == _all_but(2, 6) and dropped == {"corrupt": 3}


@pytest.mark.parametrize("kept", [1, 5, 40, 90])
def test_cut_archive_loses_only_the_last_record(kept: int) -> None:
    data = b"".join(MEMBERS[:5]) + MEMBERS[5][:kept]
    assert _names(data) == (_all_but(5, 6, 7, 8), {"truncated": 1})


def test_plain_archive_and_its_damage() -> None:
    assert _names(b"".join(PAGES)) == (_all_but(), {})
    data = b"".join([*PAGES[:3], b"garbage\r\n" * 9, *PAGES[3:]])
    assert _names(data) == (_all_but(), {"corrupt": 1})
    assert _names(b"".join(PAGES)[:-2000]) == (_all_but(8), {"truncated": 1})


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_archive_that_went_through_a_text_tool(pack: Callable[[bytes], bytes]) -> None:
    one = response(b"<img src=a.jpg alt='an image'>").replace(b"\r\n", b"\n")
    block = one.split(b"\n\n", 1)[1].removesuffix(b"\n\n")
    declared = re.search(rb"Content-Length: [0-9]+", one)[0]
    one = one.replace(declared, b"Content-Length: %d" % len(block))
    assert _names(pack(one) + pack(one)) == ({"an image"}, {})


@pytest.mark.parametrize("at", [0, 1, 9])
def test_members_that_hold_nothing_are_passed_over(at: int) -> None:
    empty = gzip.compress(b"", mtime=0)
    data = b"".join([*MEMBERS[:at], empty, empty, *MEMBERS[at:]])
    assert _names(data) == (_all_but(), {})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1", "is not gzip or WARC"),
        (b"", "is not gzip or WARC"),
        (b"filedesc://a.arc 0.0.0.0", "is an ARC file"),
        (gzip.compress(b"filedesc://a.arc 0.0.0.0"), "is an ARC file"),
        (
            gzip.compress(b"com,example)/ 2014 http://example.com/"),
            "is gzip, but holds no WARC record",
        ),
    ],
    ids=["text", "empty", "arc", "arc.gz", "cdx.gz"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "x.warc.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path} {why}"):
        list_archives([str(tmp_path / "*.gz")])


@pytest.mark.parametrize("pattern", ["", "*.d"])
def test_folder_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a.d").mkdir()
    with pytest.raises(InputError, match="is a folder; name its files"):
        list_archives([str(tmp_path / pattern)])


def test_damaged_first_member_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "x.warc.gz"
    path.write_bytes(MEMBERS[0][:20] + b"\xff" * 40 + b"".join(MEMBERS[1:]))
    assert list_archives([str(path)]) == [str(path)]


def test_failing_disk_is_an_error_and_no_damage() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 200:
                raise OSError("connection reset")
            return super().read(min(size or 0, 256) if size and size > 0 else 256)

    with pytest.raises(OSError, match="connection reset"):
        list(read_records(Failing(b"".join(MEMBERS)), 1 << 20))


def test_record_counts_are_those_of_warcio(real_data: Path) -> None:
    for path in sorted((real_data / "warc").glob("*.warc.gz")):
        with path.open("rb") as file:
            ours = Counter(r.kind for r in read_records(file, 1 << 30))
        with path.open("rb") as file:
            theirs = Counter(r.rec_type for r in ArchiveIterator(file))
        assert ours == theirs, path.name


def test_every_odd_archive_is_read_or_refused(real_data: Path) -> None:
    """Files of other tools' test suites: malformed, cut, of other formats. Where warcio reads a
    WARC file to its end, no record that is whole there is missing here."""
    files = sorted(f for f in (real_data / "warc-unit").rglob("*") if f.is_file())
    outcomes: Counter[str] = Counter()
    short = set()
    for path in files:
        try:
            list_archives([str(path)])
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["refused"] += 1
            continue
        with path.open("rb") as file:
            rows = PairRows(path.name, 10_000)
            batches = list(read_archive(file, rows, 1 << 25, 8192))
            captions = sum(b.num_rows - b["caption"].null_count for b in batches)
            assert captions == rows.pairs.kept, path
            file.seek(0)
            found = list(read_records(file, 1 << 25))
        assert rows.records.rows_in == len(found), path
        for account in (rows.records, rows.links, rows.pairs):
            account.check(path.name)
        ours, theirs = sum(r.kind != "" for r in found), _count(path)
        outcomes["unread by warcio" if theirs is None else "read"] += 1
        # What is no whole record there either may be one stretch of damage here.
        if theirs is not None and ours < theirs and len(found) < theirs:
            short.add(path.name)
    assert not short
    assert outcomes["read"] > 200


def _count(path: Path) -> int | None:
    """The records of a file by warcio, None when it gives up."""
    try:
        with path.open("rb") as file:
            return sum(1 for _ in ArchiveIterator(file))
    except Exception:  # noqa: BLE001 - whatever it cannot read
        return None


def test_wat_pairs_of_a_peer_are_all_found(real_data: Path) -> None:
    ours: set[tuple[str, str]] = set()
    skipped: set[str] = set()
    found = Found()
    for path in sorted((real_data / "wat").glob("*.wat.gz")):
        rows = PairRows(path.name, 100_000)
        with path.open("rb") as file:
            for batch in read_archive(file, rows, 1 << 26, 8192):
                for row in batch.select(["url", "caption"]).to_pylist():
                    ours.add((row["url"], row["caption"]))
        with path.open("rb") as file:
            for record in read_records(file, 1 << 26):
                opened = open_page(record, 1 << 26)
                is_page = isinstance(opened, Page)
                if isinstance(opened, Page):
                    read_pages([opened], 1, found)
                    is_page = collect(1, found).reasons == [None]
                if record.kind == "metadata" and not is_page:
                    skipped.add(record.url or "")
    theirs = pq.read_table(real_data / "expected/cc2dataset-image.parquet").to_pylist()
    lost = []
    for row in theirs:
        alt = normalise_text(row["alt"])
        url = _whatwg(row["url"])
        if "if(this.src!=" in row["url"]:
            continue  # a script in `onerror`, taken for a URL
        # An empty `src` is no image; the peer takes it for the URL of the page.
        is_page = url == _whatwg(row["page_url"]) if row.get("page_url") else False
        if is_page or row.get("page_url") in skipped:
            continue
        if alt and url and (url, alt) not in ours:
            lost.append((row["url"], row["alt"]))
    assert len(theirs) == 13_577
    assert not lost, (len(lost), lost[:5])


def _whatwg(url: str) -> str | None:
    import ada_url

    try:
        return ada_url.normalize_url(url)
    except ValueError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_bytes_never_raise_and_are_accounted_for(data: st.DataObject) -> None:
    page = b"<html lang=ko><base href=/b/><figure><picture><source srcset='a 1w,b 2x'><img src=x "
    page += b"data-src=y.jpg alt='&amp;'></picture><figcaption>c</figcaption></figure>"
    wat_page = wat_record([{"path": "IMG@/src", "url": "x", "alt": "a"}], head={"Base": "/"})
    whole = gz(response(page), wat_page, response(page, headers="Content-Encoding: br\r\n"))
    plain = response(page) + wat_page + response(page)
    for start in (whole, plain):
        mutated = bytearray(start)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(mutated) - 1))
            size = data.draw(st.integers(0, 8))
            mutated[at : at + size] = data.draw(st.binary(max_size=6))
        rows, accounts = read(bytes(mutated))  # checks that in = kept + dropped, of each
        assert accounts["records"].rows_in >= 1
        assert len({row["record_offset"] for row in rows}) <= accounts["records"].kept
        assert all(row["caption"] for row in rows)  # no mutation of eight bytes is an opt-out
