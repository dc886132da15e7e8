"""The inputs that extract is measured on, and what its comparison with a peer accepts."""

import gzip
import io
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from tests.benchmarks import archives, extract, pages
from tests.benchmarks.peers.extract import missing
from tests.extract.archive import gz, read, record, response


@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_generated_archives_are_whole_and_read_by_both_loops(kind: str, tmp_path: Path) -> None:
    made = archives.archives(kind, "generated", files=2, file_bytes=60_000, root=tmp_path)
    assert all(path.stat().st_size >= 60_000 for path in made.files)
    found = [extract.read([path]) for path in made.files]
    walked = [extract.walk(path) for path in made.files]
    assert sum(f["records"] for f in found) == made.records == sum(w[0] for w in walked)
    per_page = 3 if kind == "wat" else 1
    assert sum(f["pages"] for f in found) == pytest.approx(made.records / per_page, abs=1)
    assert sum(f["pairs"] for f in found) > made.records


def test_inputs_are_reused_until_they_would_differ(tmp_path: Path) -> None:
    def make(size: int) -> tuple[archives.Input, list[int]]:
        made = archives.archives("wat", "generated", files=2, file_bytes=size, root=tmp_path)
        return made, [path.stat().st_mtime_ns for path in made.files]

    first, again, larger = make(20_000), make(20_000), make(30_000)
    assert first == again
    assert first[1] != larger[1] and all(p.stat().st_size >= 30_000 for p in larger[0].files)


def test_records_repeat_through_all_files(tmp_path: Path) -> None:
    made = archives.archives("wat", "generated", files=3, file_bytes=30_000, root=tmp_path)
    members = [m for number in range(20) for m in pages.wat_members(number)]
    distinct = b"".join(members[: made.distinct_records])
    whole = b"".join(path.read_bytes() for path in made.files)
    assert len(distinct) == made.distinct_bytes and len(whole) > 2 * len(distinct)
    assert whole == (distinct * 5)[: len(whole)]


def test_only_html_pages_with_status_200_are_taken_over(tmp_path: Path) -> None:
    wanted = [response(b"<p>one"), response(b"<p>two", content_type="application/xhtml+xml")]
    path = tmp_path / "x.warc.gz"
    path.write_bytes(
        gz(
            record("warcinfo", "", "application/warc-fields", b"software: x"),
            wanted[0],
            response(b"gone", status="404 Not Found"),
            response(b"\xff\xd8", content_type="image/jpeg"),
            record("request", "https://a.example/", "application/http", b"GET / HTTP/1.1\r\n\r\n"),
            wanted[1],
            response(b"?", content_type=None),
        )
    )
    assert [gzip.decompress(member) for member in archives.html_members(path)] == wanted


def test_archive_in_one_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.warc.gz"
    path.write_bytes(gzip.compress(response(b"<p>one") * 2))
    with pytest.raises(ValueError, match="gzip member of its own"):
        list(archives.html_members(path))


@pytest.mark.parametrize("number", range(30))
def test_both_forms_of_a_generated_page_name_its_address(number: int) -> None:
    html, wat = pages.html_members(number), pages.wat_members(number)
    urls = {
        r.headers["WARC-Target-URI"]
        for r in ArchiveIterator(io.BytesIO(b"".join([*html, *wat])), parse_http=False)
    }
    assert len(urls) == 1
    for members in (html, wat):
        rows, accounts = read(b"".join(members))
        assert accounts["records"].kept == 1 and {row["page_url"] for row in rows} <= urls
    assert pages.html_members(number) == html


@pytest.mark.parametrize(
    ("url", "alt", "page", "verdict"),
    [
        ("https://a.example/x.jpg", "a cat", "https://p.example/", "found"),
        ("https://A.example:443/x.jpg", " a  cat ", "https://p.example/", "found"),
        ("https://a.example/x.jpg", "a dog", "https://p.example/", "unexplained"),
        ("https://a.example/y.jpg", "a cat", "https://p.example/", "unexplained"),
        ("https://a.example/y.jpg", " \t", "https://p.example/", "caption of white space"),
        ("https://a b:c/", "a cat", "https://p.example/", "no valid URL"),
        (
            "https://q.example",
            "a cat",
            "https://q.example/",
            "empty URL, which names the page itself",
        ),
        (
            "https://a.example/y.jpg",
            "a cat",
            "https://gone.example/",
            "page with another status than 200",
        ),
    ],
)
def test_what_a_peer_finds_must_be_ours_or_explained(
    url: str, alt: str, page: str, verdict: str
) -> None:
    ours = {("https://a.example/x.jpg", "a cat")}
    assert missing(url, alt, page, ours, {"https://p.example/", "https://q.example/"}) == verdict
