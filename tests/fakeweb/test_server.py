"""Every behaviour of the servers as a plain client sees it, and a log that misses nothing."""

import asyncio
import io
import json
import ssl
import time

import aiohttp
import dns.resolver
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.core.reasons import Status
from pipeline.fakeweb import behaviour
from pipeline.fakeweb.hostile import HOSTILITIES, PRIVATE_TARGETS, UNREACHABLE, Kind
from pipeline.fakeweb.serving import serving
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.pool import DecoderPool
from tests.fakeweb.conftest import address, client


async def _ask(served, row, *, count=1, most_bytes=3_000_000, seconds=5.0, headers=None):
    """Status, headers and body (cut at so many bytes) of the last of some requests."""
    url = address(served, row["scheme"], row["host"], row["target"])
    async with client(served) as session:
        for _ in range(count):
            async with asyncio.timeout(seconds):
                async with session.get(url, headers=headers, allow_redirects=False) as response:
                    body = b""
                    async for piece in response.content.iter_any():
                        body += piece
                        if len(body) >= most_bytes:
                            break
        return response.status, response.headers, body


def ask(served, row, **options):
    return asyncio.run(_ask(served, row, **options))


@pytest.fixture(scope="module")
def one(truth):
    """The first image of a kind."""
    rows = {}
    for row in truth("images"):
        rows.setdefault(row["kind"], row)
    return lambda kind: rows[kind.value]


def test_every_kind_has_an_image_and_its_status(truth):
    rows = {row["kind"]: row["expected_status"] for row in truth("images") if not row["optout"]}
    for kind, hostility in HOSTILITIES.items():
        assert rows[kind.value] == hostility.expected


def test_sound_images_are_pictures_of_the_stated_size(served, truth):
    seen = set()
    for row in truth("images"):
        if row["kind"] == "sound" and row["encoding"] not in seen:
            seen.add(row["encoding"])
            status, headers, body = ask(served, row)
            picture = Image.open(io.BytesIO(body))
            assert status == 200
            assert headers["Content-Type"] == picture.get_format_mimetype()
            size = picture.size[::-1] if row["encoding"] == "jpeg_rotated" else picture.size
            if row["variant"] != "crop":
                assert size == (row["width"], row["height"])
    assert {"jpeg", "png", "gif"} <= seen


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.FORBIDDING, 403),
        (Kind.HTTP_403, 403),
        (Kind.HTTP_404, 404),
        (Kind.HTTP_410, 410),
        (Kind.HTTP_451, 451),
        (Kind.HTTP_500, 500),
        (Kind.HTTP_503, 503),
    ],
)
def test_http_statuses(served, one, kind, status):
    assert ask(served, one(kind))[0] == status


def test_busy_once_gives_in_and_busy_does_not(served, one):
    status, headers, _ = ask(served, one(Kind.BUSY_ONCE))
    assert (status, headers["Retry-After"]) == (429, "1")
    assert ask(served, one(Kind.BUSY_ONCE))[0] == 200
    assert ask(served, one(Kind.BUSY), count=3)[0] == 429
    status, headers, _ = ask(served, one(Kind.BUSY_SILENT))
    assert status == 429 and "Retry-After" not in headers


def test_redirects(served, one, truth):
    urls = {row["url"] for row in truth("images") if row["kind"] == "sound"}
    status, headers, _ = ask(served, one(Kind.REDIRECTED))
    assert status == 301
    assert headers["Location"] in urls
    assert ask(served, one(Kind.REDIRECT_FILE))[1]["Location"].startswith("file:")
    assert "Location" not in ask(served, one(Kind.REDIRECT_NOWHERE))[1]
    private = [row for row in truth("images") if row["kind"] == "redirect_private"]
    assert {ask(served, r)[1]["Location"] for r in private} == set(PRIVATE_TARGETS)


def test_a_redirect_loop_never_ends(served, one):
    row = dict(one(Kind.REDIRECT_LOOP))
    for _ in range(12):
        status, headers, _ = ask(served, row)
        assert status == 302
        row["target"] = headers["Location"]


def test_bodies_that_are_not_what_they_claim(served, one):
    assert ask(served, one(Kind.EMPTY))[2] == b""
    _, headers, body = ask(served, one(Kind.HTML_AS_JPEG))
    assert (headers["Content-Type"], body[:9]) == ("image/jpeg", b"<!DOCTYPE")
    _, headers, body = ask(served, one(Kind.SVG_AS_JPEG))
    assert (headers["Content-Type"], body[:4]) == ("image/jpeg", b"<svg")
    _, headers, body = ask(served, one(Kind.JPEG_AS_HTML))
    assert headers["Content-Type"].startswith("text/html")
    Image.open(io.BytesIO(body)).load()
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(ask(served, one(Kind.TRUNCATED))[2])).load()
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(ask(served, one(Kind.SHORT_LENGTH))[2])).load()
    assert max(Image.open(io.BytesIO(ask(served, one(Kind.TINY))[2])).size) <= 24


def test_the_bomb_is_small_to_send_and_huge_to_open(served, one, monkeypatch):
    body = ask(served, one(Kind.BOMB))[2]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(body) < 500_000
    assert Image.open(io.BytesIO(body)).size == (20_000, 20_000)
    frames = ask(served, one(Kind.FRAMES_BOMB))[2]
    assert len(frames) < 500_000 and Image.open(io.BytesIO(frames)).n_frames > 1000
    # aiohttp inflates as it reads.
    assert len(ask(served, one(Kind.GZIP_BOMB), most_bytes=60_000_000)[2]) >= 60_000_000
    assert int(ask(served, one(Kind.GZIP_BOMB), most_bytes=1)[1]["Content-Length"]) < 500_000


def test_endless_and_oversize_bodies_go_past_any_cap(served, one):
    assert len(ask(served, one(Kind.ENDLESS), most_bytes=20_000_000)[2]) >= 20_000_000
    _, headers, _ = ask(served, one(Kind.OVERSIZE), most_bytes=1000)
    assert int(headers["Content-Length"]) == 200_000_000


def test_a_slow_drip_starts_and_does_not_end(served, one):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        ask(served, one(Kind.SLOW_DRIP), seconds=1.5)
    assert time.monotonic() - started >= 1.4
    with pytest.raises(TimeoutError):
        ask(served, one(Kind.SILENT), seconds=0.5)


def test_what_never_ends_is_bounded():
    assert behaviour._DRIP_SECONDS <= 60 and behaviour._SILENT_SECONDS <= 60
    assert behaviour._ENDLESS_BYTES <= 80_000_000


@pytest.mark.parametrize("kind", [Kind.DISCONNECTED, Kind.RESET])
def test_bodies_that_break_off(served, one, kind):
    with pytest.raises(aiohttp.ClientError):
        ask(served, one(kind))


def test_a_reset_is_a_reset(served, one):
    async def raw():
        row = one(Kind.RESET)
        secure = None
        port = served.http_port
        if row["scheme"] == "https":
            secure, port = ssl.create_default_context(cafile=served.ca_file), served.https_port
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=secure, server_hostname=row["host"] if secure else None
        )
        writer.write(f"GET {row['target']} HTTP/1.1\r\nHost: {row['host']}\r\n\r\n".encode())
        while await reader.read(65536):
            pass

    with pytest.raises(ConnectionResetError):
        asyncio.run(raw())


def test_bombs_cost_a_decoder_its_memory_and_its_time(served, one):
    memory, scans = (ask(served, one(kind))[2] for kind in (Kind.MEMORY_BOMB, Kind.SCANS_BOMB))
    assert len(memory) < 100 and len(scans) < 3_000_000
    pool = DecoderPool(DecodeSettings(), 1, 4.0, 768 * 2**20)
    try:
        assert pool.submit(memory).result(60).status == Status.DECODE
        hung = pool.submit(scans).result(60)
    finally:
        pool.close()
    assert (hung.status, hung.status_detail) == (Status.DECODE, "the decoder died: over its time")


@pytest.mark.parametrize("kind", [Kind.GARBAGE, Kind.HUGE_HEADERS, Kind.ENDLESS_HEADERS])
def test_heads_that_no_client_takes(served, one, kind):
    with pytest.raises(aiohttp.ClientError):
        ask(served, one(kind))


def test_names_and_certificates(served, one, web):
    hosts = json.loads((web / "files/hosts.json").read_text())
    assert one(Kind.DNS)["host"] not in hosts
    assert hosts[one(Kind.PRIVATE_NAME)["host"]] != "127.0.0.1"
    assert set(hosts[one(Kind.MIXED_NAME)["host"]]) == {"10.0.0.1", "127.0.0.1"}
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = int(served.dns_server.rpartition(":")[2])

    def ask_name(kind):
        return {str(found) for found in resolver.resolve(one(kind)["host"], "A")}

    assert ask_name(Kind.MIXED_NAME) == {"10.0.0.1", "127.0.0.1"}
    assert ask_name(Kind.REBOUND_NAME) == {"127.0.0.1"} != ask_name(Kind.REBOUND_NAME)
    with pytest.raises(dns.resolver.NXDOMAIN):
        ask_name(Kind.DNS)
    for kind in (Kind.TLS, Kind.TLS_EXPIRED, Kind.TLS_UNKNOWN):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            ask(served, one(kind))


def test_placeholder_stands_behind_every_missing_image(served, one, truth):
    row = dict(one(Kind.PLACEHOLDER))
    same = [ask(served, r)[2] for r in truth("images") if r["kind"] == "placeholder"]
    row["target"] = "/never/linked.jpg"
    status, _, body = ask(served, row)
    assert status == 200
    assert {body} == set(same)
    assert len(same) >= 10


def test_copies_have_the_bytes_of_their_originals(served, truth):
    rows = {row["image_id"]: row for row in truth("images")}
    copies = [r for r in rows.values() if r["variant"] == "copy" and r["kind"] == "sound"]
    assert copies
    for row in copies:
        assert ask(served, row)[2] == ask(served, rows[row["variant_of"]])[2]


def test_opt_outs_are_stated(served, truth):
    rows = {row["optout"]: row for row in reversed(truth("images"))}
    headers = ask(served, rows["image_header"])[1]
    assert "X-Robots-Tag" in headers or "tdm-reservation" in headers

    def robots(optout):
        return ask(served, {**rows[optout], "target": "/robots.txt"})

    assert rows["robots_path"]["target"].startswith("/private/")
    assert b"Disallow: /\n" in robots("robots_host")[2]


def test_robots_txt_comes_in_every_way(served, web):
    servers = json.loads((web / "files/servers.json").read_text())

    def robots(kind, seconds=5.0):
        host = next(s for s in servers if s["robots"] == kind)
        row = {"scheme": host["scheme"], "host": host["name"], "target": "/robots.txt"}
        return ask(served, row, seconds=seconds), row

    for kind in ("path", "path_long", "path_slow"):
        (status, _, body), _ = robots(kind)
        assert status == 200 and b"Disallow: /private/" in body[:500_000]
        assert (len(body) > 512_000) == (kind == "path_long")
    (status, headers, _), row = robots("path_moved")
    assert status == 301
    assert b"Disallow: /private/" in ask(served, row | {"target": headers["Location"]})[2]
    assert robots("refused")[0][0] == 403 and robots("error")[0][0] == 503
    with pytest.raises(TimeoutError):
        robots("silent", seconds=0.5)


def test_headers_for_other_agents_withhold_nothing(served, truth):
    rows = [r for r in truth("images") if r["kind"] == "sound" and r["optout"] is None]
    said = {ask(served, row)[1].get("X-Robots-Tag") for row in rows}
    assert {None, "otherbot: noai, noindex"} <= said
    assert {row["expected_status"] for row in rows} == {"ok"}


def test_a_picture_that_is_as_it_was_is_not_sent_again(served, truth):
    names = set()
    for row in [r for r in truth("images") if r["kind"] == "sound"][:6]:
        status, headers, body = ask(served, row)
        name = "ETag" if "ETag" in headers else "Last-Modified"
        names.add(name)
        condition = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[name]
        assert ask(served, row, headers={condition: headers[name]})[::2] == (304, b"")
        assert ask(served, row, headers={condition: "other"})[::2] == (200, body)
    assert names == {"ETag", "Last-Modified"}


def test_spellings_of_a_url_reach_the_same_image(served, truth):
    row = next(r for r in truth("images") if r["kind"] == "sound" and "?" not in r["target"])
    plain = ask(served, row)[2]
    for target in (row["target"] + "?utm_source=x&utm_medium=y", "/archive/.." + row["target"]):
        assert ask(served, {**row, "target": target})[2] == plain
    assert ask(served, {**row, "target": row["target"] + "?v=2"})[0] == 404
    other = "http" if row["scheme"] == "https" else "https"
    assert ask(served, {**row, "scheme": other})[0] == 404


def test_the_log_has_every_request(web, truth):
    rows = [r for r in truth("images") if r["kind"] == "sound" and r["scheme"] == "http"][:5]

    async def together(running):
        async with client(running) as session:

            async def get(row):
                url = address(running, row["scheme"], row["host"], row["target"])
                async with session.get(url) as response:
                    await response.read()

            await asyncio.gather(*(get(row) for row in rows * 4))

    log = web / "access.jsonl"
    with serving(str(web)) as running:
        before = len(log.read_text().splitlines()) if log.exists() else 0
        asyncio.run(together(running))
        time.sleep(0.1)
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert sorted(line["image"] for line in lines) == sorted(r["image_id"].hex() for r in rows * 4)
    assert {line["user_agent"] for line in lines} == {"tests"}
    assert {line["status"] for line in lines} == {200}
    assert all(line["open"] >= 1 for line in lines)


def test_unreachable_kinds_are_never_in_the_log(web, truth):
    kinds = {row["image_id"].hex(): row["kind"] for row in truth("images")}
    lines = [json.loads(line) for line in (web / "access.jsonl").read_text().splitlines()]
    assert not {kinds[line["image"]] for line in lines if line["image"]} & UNREACHABLE


def test_serving_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="no embedded web"), serving(str(tmp_path)):
        pass
