"""Replay: recorded responses come back under their own URLs as a client should see them."""

import asyncio
import gzip
import io
import zlib
from datetime import UTC, datetime
from pathlib import Path

import brotli
import pytest
from PIL import Image
from yarl import URL

from pipeline.core.errors import InputError
from pipeline.fakeweb import recorded
from pipeline.fakeweb.archives import http_message, record
from pipeline.fakeweb.replay import replaying
from tests.fakeweb.conftest import client

NOW = datetime(2024, 1, 1, tzinfo=UTC)
BODY = b"the picture " * 500


def chunked(body: bytes) -> bytes:
    return b"%x;note=1\r\n%s\r\n0\r\n\r\n" % (len(body), body)


RESPONSES = {
    "http://a.example/plain.jpg": ("200 OK", [("Content-Type", "image/jpeg")], BODY),
    "https://a.example/secure.jpg?x=1&y=2": ("200 OK", [], BODY),
    "http://a.example/chunked": ("200 OK", [("Transfer-Encoding", "chunked")], chunked(BODY)),
    "http://a.example/not-chunked": ("200 OK", [("Transfer-Encoding", "chunked")], BODY),
    "http://a.example/gzip": ("200 OK", [("Content-Encoding", "gzip")], gzip.compress(BODY)),
    "http://a.example/not-gzip": ("200 OK", [("Content-Encoding", "gzip")], BODY),
    "http://a.example/deflate": ("200 OK", [("content-encoding", "deflate")], zlib.compress(BODY)),
    "http://a.example/br": ("200 OK", [("Content-Encoding", "br")], brotli.compress(BODY)),
    "http://a.example/length": ("200 OK", [("Content-Length", "7"), ("Connection", "close")], BODY),
    "http://a.example/사진.jpg": ("200 OK", [("X-Robots-Tag", "noai")], BODY),
    "http://b.example": ("200 OK", [], BODY),
    "http://p.example:8083/odd-port.jpg": ("200 OK", [], BODY),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("replay") / "small.warc.gz"
    missing = http_message("HTTP/1.1 404 Not Found", [], b"first seen missing")
    with open(path, "wb") as file:
        url = "http://a.example/plain.jpg"
        file.write(gzip.compress(record("response", url, NOW, missing)))
        file.write(gzip.compress(record("request", url, NOW, b"GET / HTTP/1.1\r\n\r\n")))
        for url, (status, fields, body) in RESPONSES.items():
            message = http_message(f"HTTP/1.1 {status}", fields, body)
            file.write(gzip.compress(record("response", url, NOW, message)))
        moved = http_message("HTTP/1.1 302 Found", [("Location", "/plain.jpg")], b"")
        file.write(gzip.compress(record("response", "http://a.example/moved", NOW, moved)))
        file.write(gzip.compress(record("response", "http://a.example/odd", NOW, b"no http")))
    return str(path)


def fetch(served, urls):
    """URL -> status, headers, body, over one session."""

    async def get(session, url):
        scheme, _, rest = url.partition("://")
        host, _, target = rest.partition("/")
        port = served.http_port if scheme == "http" else served.https_port
        host, colon, named = host.partition(":")
        asked = URL(f"{scheme}://{host}:{port}/{target}", encoded=target.isascii())
        headers = {"Host": f"{host}:{named}"} if colon else {}
        async with session.get(asked, allow_redirects=False, headers=headers) as response:
            return url, (response.status, dict(response.headers), await response.read())

    async def everything():
        async with client(served) as session:
            return dict([await get(session, url) for url in urls])

    return asyncio.run(everything())


def test_bodies_come_back_decoded_and_whole(archive, tmp_path):
    with replaying([archive], str(tmp_path)) as served:
        got = fetch(served, [*RESPONSES, "http://a.example/moved"])
    moved = got.pop("http://a.example/moved")
    assert (moved[0], moved[1]["Location"]) == (302, "/plain.jpg")
    for url, (status, headers, body) in got.items():
        assert (status, body) == (200, BODY), url
        assert "Content-Encoding" not in headers
        assert "Transfer-Encoding" not in headers
    assert got["http://a.example/사진.jpg"][1]["X-Robots-Tag"] == "noai"


def test_what_is_not_recorded_is_not_found(archive, tmp_path):
    asked = [
        "http://a.example/robots.txt",
        "https://a.example/plain.jpg",
        "http://a.example/odd",
        "http://a.example:8083/plain.jpg",
        "http://p.example/odd-port.jpg",
        "http://never.seen.example/x.jpg",
        "https://never.seen.example/x.jpg",
    ]
    with replaying([archive], str(tmp_path)) as served:
        got = fetch(served, asked)
    assert {status for status, _, _ in got.values()} == {404}
    assert len((tmp_path / "access.jsonl").read_text().splitlines()) == len(asked)


def test_a_log_that_cannot_be_written_changes_no_answer(archive, tmp_path):
    (tmp_path / "access.jsonl").symlink_to("/dev/full")
    with replaying([archive], str(tmp_path)) as served:
        got = fetch(served, ["http://a.example/plain.jpg", "http://a.example/gone.jpg"])
    assert [status for status, _, _ in got.values()] == [200, 404]


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(InputError, match="no archive"), replaying([str(tmp_path / "x")], "y"):
        pass


@pytest.mark.parametrize("cut", [30, 200, 700])
def test_a_cut_archive_serves_what_is_before_the_cut(archive, tmp_path, cut):
    path = tmp_path / "cut.warc.gz"
    path.write_bytes(Path(archive).read_bytes()[:-cut])
    found = recorded.index([str(path)])
    assert "http://a.example/plain.jpg" in found
    assert recorded.read(found["http://a.example/plain.jpg"]).status == 200


@pytest.mark.parametrize(
    "raw",
    [b"", b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 999 X\r\n\r\nx"],
)
def test_what_is_no_response_is_none(raw):
    assert recorded.parse(raw) is None


def test_pictures_of_real_archives_decode(real_data, tmp_path):
    archives = sorted(str(f) for f in (real_data / "warc").glob("site-gutenberg-1[12]*.warc.gz"))
    places = recorded.index(archives)
    pictures = [url for url in places if url.endswith((".jpg", ".png"))][:40]
    assert pictures
    with replaying(archives, str(tmp_path)) as served:
        got = fetch(served, pictures)
    for status, headers, body in got.values():
        assert status == 200
        assert headers["Content-Type"].startswith("image/")
        Image.open(io.BytesIO(body)).load()
