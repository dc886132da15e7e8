"""A part against a hostile server: every case ends in its own status, and nothing else suffers."""

import asyncio
import hashlib
import io
import itertools
import json
import ssl
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trustme

from pipeline.core.ids import image_id
from pipeline.core.tables import IMAGES
from pipeline.fetch.flow import download_part
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.part import PartResult
from pipeline.fetch.pool import close_pools
from pipeline.fetch.settings import DownloadSection
from tests.fetch.pictures import encoded, photo
from tests.fetch.server import Handler, Request, WebServer

PHOTO = encoded(photo())


@pytest.fixture(scope="module", autouse=True)
def _no_decoders_left() -> Iterator[None]:
    yield
    close_pools()


def serving(body: bytes = PHOTO, status: str = "200 OK", **headers: str) -> Handler:
    async def handler(request: Request) -> None:
        await request.send(body, status, {k.replace("_", "-"): v for k, v in headers.items()})

    return handler


def settings(tmp_path: Path, *servers: WebServer, **changes: Any) -> DownloadSection:
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps(changes.pop("hosts", {"*": "127.0.0.1"})))
    ports = {(443 if s.tls else 80): s.port for s in servers}
    values = {
        "hosts_file": str(hosts),
        "allowed_networks": ("127.0.0.1/32",),
        "port_map": ports,
        "host_interval_s": 0.0,
        "address_interval_s": 0.0,
        "address_concurrency": 1000,
        "timeout_s": 2.0,
        "backoff_s": 0.05,
        "retries": 1,
    }
    return DownloadSection.model_validate(values | changes)


def download(
    config: DownloadSection,
    *urls: str | tuple[str, str | None],
    known: KnownHosts | None = None,
) -> tuple[dict[str, dict[str, Any]], PartResult, bytes]:
    given = [(u, None) if isinstance(u, str) else u for u in urls]
    batch = pa.RecordBatch.from_pylist(
        [
            {"image_id": image_id(u), "url": u, "domain": "example", "page_optout": optout}
            for u, optout in given
        ],
        schema=pa.schema(
            [
                ("image_id", pa.binary()),
                ("url", pa.string()),
                ("domain", pa.string()),
                ("page_optout", pa.string()),
            ]
        ),
    )
    file = io.BytesIO()
    result = download_part([batch], config, file, known)
    result.account.check("test")
    assert [r["image_id"] for r in result.rows] == sorted(image_id(u) for u, _ in given)
    by_id = {r["image_id"]: r for r in result.rows}
    return {u: by_id[image_id(u)] for u, _ in given}, result, file.getvalue()


def status_of(handler: Handler, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    with WebServer({"/x.jpg": handler, "/good.jpg": serving()}) as server:
        config = settings(tmp_path, server, **changes)
        rows, _, _ = download(config, "http://a.test/x.jpg", "http://b.test/good.jpg")
        assert rows["http://b.test/good.jpg"]["status"] == "ok"
        return rows["http://a.test/x.jpg"]


async def drip(request: Request) -> None:
    await request.send(PHOTO[:100], length=len(PHOTO))
    for at in range(100, len(PHOTO)):
        request.writer.write(PHOTO[at : at + 1])
        await request.writer.drain()
        await asyncio.sleep(0.1)


async def endless(request: Request) -> None:
    await request.send(PHOTO, headers={"Transfer-Encoding": "identity", "Connection": "close"})
    while True:
        request.writer.write(bytes(65536))
        await request.writer.drain()


async def cut(request: Request) -> None:
    await request.send(PHOTO[:2000], length=len(PHOTO))
    request.writer.transport.abort()


async def reset(request: Request) -> None:
    request.writer.transport.abort()


async def garbage(request: Request) -> None:
    request.writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await request.writer.drain()


async def huge_header(request: Request) -> None:
    await request.send(PHOTO, headers={"X-Padding": "a" * 100_000})


async def endless_headers(request: Request) -> None:
    request.writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        request.writer.write(b"X-A: b\r\n" * 100)
        await request.writer.drain()
        await asyncio.sleep(0)


def png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    size = side.to_bytes(4, "big") * 2
    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x01\0\0\0\0")
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (serving(), "ok"),
        (drip, "timeout"),
        (endless, "too_large"),
        (cut, "disconnected"),
        (reset, "disconnected"),
        (garbage, "bad_response"),
        (huge_header, "bad_response"),
        (endless_headers, "bad_response"),
        (serving(png_bomb(20000)), "too_many_pixels"),
        (serving(PHOTO[: len(PHOTO) // 2]), "decode"),
        (serving(b"<!doctype html>" * 40, Content_Type="image/jpeg"), "not_an_image"),
        (serving(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not_an_image"),
        (serving(b""), "empty"),
        (serving(b"no", "403 Forbidden"), "http_403"),
        (serving(b"no", "404 Not Found"), "http_404"),
        (serving(b"no", "410 Gone"), "http_410"),
        (serving(b"no", "451 Unavailable For Legal Reasons"), "http_4xx"),
        (serving(b"no", "500 Oops"), "http_5xx"),
        (serving(b"", "302 Found", Location="/x.jpg"), "too_many_redirects"),
        (serving(b"", "302 Found"), "bad_redirect"),
        (serving(b"", "302 Found", Location="file:///etc/passwd"), "bad_redirect"),
        (serving(b"", "302 Found", Location="data:image/png;base64,AA"), "bad_redirect"),
        (serving(b"", "302 Found", Location="http://127.0.0.2/x"), "private_address"),
        (serving(b"", "302 Found", Location="http://0x7f.0.0.2/x"), "private_address"),
        (serving(b"", "302 Found", Location="http://2130706434/x"), "private_address"),
        (serving(b"", "302 Found", Location="http://[::ffff:127.0.0.2]/x"), "private_address"),
        (serving(b"", "302 Found", Location="http://169.254.169.254/meta"), "private_address"),
        (serving(b"", "302 Found", Location="http://a.test:22/x"), "bad_redirect"),
        (serving(b"", "302 Found", Location="/good.jpg"), "ok"),
        (serving(X_Robots_Tag="noai"), "opted_out"),
        (serving(X_Robots_Tag="none"), "opted_out"),
        (serving(X_Robots_Tag="Pairmill: noimageai, nofollow"), "opted_out"),
        (serving(X_Robots_Tag="otherbot: noindex"), "ok"),
        (serving(tdm_reservation="1"), "opted_out"),
        (serving(tdm_reservation="0"), "ok"),
        (serving(zlib.compress(PHOTO), Content_Encoding="deflate"), "ok"),
        (serving(zlib.compress(bytes(10**8)), Content_Encoding="deflate"), "too_large"),
        (serving(PHOTO, Content_Encoding="br"), "bad_response"),
    ],
)  # fmt: skip
def test_each_case_has_its_status(handler: Handler, status: str, tmp_path: Path) -> None:
    row = status_of(handler, tmp_path, max_body_bytes=3_000_000, retries=0, timeout_s=1.5)
    assert row["status"] == status, row
    if status != "ok":
        assert row["sha256"] is None and row["raw_offset"] is None and row["hash64"] is None


def test_defects_of_others_are_refused(tmp_path: Path) -> None:
    with WebServer() as server:
        config = settings(tmp_path, server)
        urls = ["file:///etc/passwd", "data:image/png;base64,AA", "http://", "ftp://a.test/x.jpg"]
        rows, _, _ = download(config, *urls, "http://127.0.0.2/x.jpg", "http://[::1]/x.jpg")
        assert [rows[u]["status"] for u in urls] == ["bad_url"] * 4
        assert rows["http://127.0.0.2/x.jpg"]["status"] == "private_address"
        assert rows["http://[::1]/x.jpg"]["status"] == "private_address"
        assert server.log == []


def test_names_that_lead_to_private_addresses(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as server:
        hosts = {"in.test": "10.0.0.1", "mixed.test": ["10.0.0.1", "127.0.0.1"]}
        config = settings(tmp_path, server, hosts=hosts)
        rows, _, _ = download(
            config, "http://in.test/x.jpg", "http://mixed.test/x.jpg", "http://none.test/x.jpg"
        )
        assert rows["http://in.test/x.jpg"]["status"] == "private_address"
        assert rows["http://mixed.test/x.jpg"]["status"] == "ok"
        assert rows["http://none.test/x.jpg"]["status"] == "dns"


def test_port_map_does_not_open_other_networks(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as server:
        config = settings(tmp_path, server, allowed_networks=("127.9.0.0/16",))
        rows, _, _ = download(config, "http://a.test/x.jpg")
        assert rows["http://a.test/x.jpg"]["status"] == "private_address"
        assert server.log == []


def test_port_zero_stands_for_the_ports_not_named(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as server, WebServer({"/x.jpg": serving()}) as other:
        config = settings(tmp_path, server, port_map={0: server.port, 81: other.port})
        urls = ["http://a.test:8083/x.jpg", "http://127.0.0.1:8084/x.jpg", "http://b.test:81/x.jpg"]
        rows, _, _ = download(config, *urls)
        assert [rows[url]["status"] for url in urls] == ["ok"] * 3
        assert (len(server.log), len(other.log)) == (4, 2)  # each with its robots.txt


def test_a_row_has_every_fact_and_the_tar_holds_the_bytes(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving(Content_Type="image/jpeg")}) as server:
        rows, result, tar = download(settings(tmp_path, server), "http://a.test/x.jpg")
    row = rows["http://a.test/x.jpg"]
    assert row["consent"] == "allowed" and row["content_type"] == "image/jpeg"
    assert (row["original_width"], row["original_height"]) == (320, 240)
    assert row["body_bytes"] == len(PHOTO) and row["http_status"] == 200
    start = row["raw_offset"]
    assert tar[start : start + row["raw_bytes"]] == PHOTO
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        (member,) = archive.getmembers()
        assert member.name.startswith(f"{row['image_id'].hex()}.") and member.mtime == 0
        assert archive.extractfile(member).read() == PHOTO  # type: ignore[union-attr]
    assert (result.account.rows_in, result.account.kept) == (1, 1)


def test_turned_hashes_are_in_the_row_only_when_asked_for(tmp_path: Path) -> None:
    plain = status_of(serving(), tmp_path)
    asked = status_of(serving(), tmp_path, turned_hashes=True)
    assert plain["turned64"] is None and plain["turned256"] is None
    assert len(asked["turned64"]) == 7 and [len(h) for h in asked["turned256"]] == [32] * 7
    same = ("hash64", "hash256", "fingerprint")
    assert [asked[name] for name in same] == [plain[name] for name in same]
    table = pa.Table.from_pylist([asked], schema=IMAGES.schema.remove(1))
    assert table.column("turned64").to_pylist() == [asked["turned64"]]


def robots(text: str) -> Handler:
    return serving(text.encode())


def test_robots_is_asked_first_and_obeyed(tmp_path: Path) -> None:
    routes = {
        "a.test/robots.txt": robots("User-agent: *\nDisallow: /no/\n"),
        "b.test/robots.txt": serving(b"", "503 Down"),
        "c.test/robots.txt": serving(b"", "301 Moved", Location="http://a.test/robots.txt"),
        "d.test/robots.txt": robots("User-agent: pairmill\nDisallow: /\n\nUser-agent: *\nAllow: /"),
        "e.test/robots.txt": serving(b"", "403 Forbidden"),
        "f.test/robots.txt": serving(b"", "301 Moved", Location="/robots.txt"),
        "g.test/robots.txt": drip,
        "h.test/jump.jpg": serving(b"", "302 Found", Location="http://a.test/no/x.jpg"),
        **{f"/{folder}/x.jpg": serving() for folder in ("no", "yes")},
    }
    hosts = "abcdefg"
    with WebServer(routes) as server:
        config = settings(tmp_path, server, timeout_s=1.0)
        urls = [f"http://{h}.test/{f}/x.jpg" for h in hosts for f in ("no", "yes")]
        rows, _, _ = download(config, *urls, "http://h.test/jump.jpg")
        found = {u: rows[u]["status"] for u in urls}
        expected = {
            "a": ("robots", "ok"),
            "b": ("robots_unavailable",) * 2,
            "c": ("robots", "ok"),
            "d": ("robots",) * 2,
            "e": ("ok", "ok"),
            "f": ("ok", "ok"),
            "g": ("robots_unavailable",) * 2,
        }
        for host, statuses in expected.items():
            assert (
                found[f"http://{host}.test/no/x.jpg"],
                found[f"http://{host}.test/yes/x.jpg"],
            ) == statuses
            assert server.asked(f"{host}.test")[0] == "/robots.txt"
        assert rows["http://h.test/jump.jpg"]["status"] == "robots"
        assert rows["http://a.test/no/x.jpg"]["consent"] == "robots.txt"
        for host in "abcdg":
            assert "/no/x.jpg" not in server.asked(f"{host}.test")
        assert server.asked("a.test").count("/robots.txt") <= 2  # its own, and c's redirect
        assert all(agent.startswith("Pairmill/") for agent in server.user_agents)


def test_page_optout_is_never_asked(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as server:
        rows, _, _ = download(settings(tmp_path, server), ("http://a.test/x.jpg", "meta:noimageai"))
        assert rows["http://a.test/x.jpg"]["status"] == "opted_out"
        assert rows["http://a.test/x.jpg"]["consent"] == "page:meta:noimageai"
        assert server.log == []


def test_host_concurrency_holds_and_hosts_overlap(tmp_path: Path) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.05)
        await request.send(PHOTO)

    with WebServer({f"/{i}.jpg": slow for i in range(12)}) as server:
        config = settings(tmp_path, server, host_concurrency=2, placeholder_urls=0)
        urls = [f"http://{h}.test/{i}.jpg" for h in "abc" for i in range(12)]
        rows, _, _ = download(config, *urls)
        assert {r["status"] for r in rows.values()} == {"ok"}
        assert max(server.most_active.values()) == 2
        first = [host for host, _ in server.log[:9]]
        assert len(set(first)) == 3  # interleaved, not one host after the other


def test_crawl_delay_and_interval_space_requests(tmp_path: Path) -> None:
    times: list[float] = []

    async def timed(request: Request) -> None:
        times.append(asyncio.get_running_loop().time())
        await request.send(PHOTO)

    routes: dict[str, Handler] = {f"/{i}.jpg": timed for i in range(4)}
    routes["/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.2\n")
    with WebServer(routes) as server:
        download(settings(tmp_path, server), *[f"http://a.test/{i}.jpg" for i in range(4)])
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) == 4 and min(gaps) > 0.15


def test_retry_after_is_waited_for_and_then_works(tmp_path: Path) -> None:
    calls: list[float] = []

    async def busy_once(request: Request) -> None:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            await request.send(b"", "429 Too Many Requests", {"Retry-After": "1"})
        else:
            await request.send(PHOTO)

    row = status_of(busy_once, tmp_path)
    assert row["status"] == "ok" and calls[1] - calls[0] > 0.9


def test_a_host_that_asks_for_too_long_a_wait_is_left_alone(tmp_path: Path) -> None:
    busy = serving(b"", "429 Too Many Requests", Retry_After="86400")
    with WebServer({f"/{i}.jpg": busy for i in range(20)}) as server:
        config = settings(tmp_path, server, host_concurrency=1)
        rows, _, _ = download(config, *[f"http://a.test/{i}.jpg" for i in range(20)])
        statuses = sorted(r["status"] for r in rows.values())
        assert statuses == ["host_given_up"] * 19 + ["http_429"]
        assert len(server.asked("a.test")) == 2  # robots.txt and one picture


def test_breaker_gives_a_failing_host_up(tmp_path: Path) -> None:
    with WebServer({f"/{i}.jpg": reset for i in range(40)}) as server:
        config = settings(tmp_path, server, host_failures=5, host_concurrency=1, retries=0)
        _rows, result, _ = download(config, *[f"http://a.test/{i}.jpg" for i in range(40)])
        assert result.account.dropped == {"disconnected": 5, "host_given_up": 35}
        # robots.txt and five pictures, none of them twice.
        assert len(server.asked("a.test")) == len(set(server.asked("a.test"))) == 6


def test_connect_refused(tmp_path: Path) -> None:
    with WebServer() as server:
        config = settings(tmp_path, server)
    rows, _, _ = download(config, "http://a.test/x.jpg")
    assert rows["http://a.test/x.jpg"]["status"] == "connect"


def test_placeholders(tmp_path: Path) -> None:
    routes = {f"/{i}.jpg": serving() for i in range(8)}
    routes["a.test/own.jpg"] = serving(encoded(photo(seed=5)))
    with WebServer(routes) as server:
        config = settings(tmp_path, server, placeholder_urls=5)
        few = [f"http://b.test/{i}.jpg" for i in range(5)]
        many = [f"http://a.test/{i}.jpg" for i in range(8)]
        rows, result, _ = download(config, *few, *many, "http://a.test/own.jpg")
        assert {rows[u]["status"] for u in many} == {"placeholder"}
        assert {rows[u]["raw_offset"] for u in many} == {rows[many[0]]["fingerprint"]} == {None}
        assert {rows[u]["sha256"] for u in many} == {hashlib.sha256(PHOTO).digest()}
        assert {rows[u]["status"] for u in [*few, "http://a.test/own.jpg"]} == {"ok"}
        assert result.account.kept == 6


def test_large_bodies_wait_for_memory_and_all_arrive(tmp_path: Path) -> None:
    big = encoded(photo(1500, 1200), quality=97)
    assert len(big) > 300_000
    with WebServer({f"/{i}.jpg": serving(big) for i in range(6)}) as server:
        config = settings(tmp_path, server, body_memory_mb=1, placeholder_urls=0, timeout_s=20)
        rows, _, _ = download(config, *[f"http://{i}.test/{i}.jpg" for i in range(6)])
        assert {r["status"] for r in rows.values()} == {"ok"}


def test_part_deadline_ends_a_slow_host(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(50)}
    with WebServer(routes) as server:
        config = settings(tmp_path, server, host_interval_s=0.3, max_part_s=1.0)
        _rows, result, _ = download(config, *[f"http://a.test/{i}.jpg" for i in range(50)])
        assert result.account.rows_in == 50 and result.account.dropped["host_given_up"] > 30


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("good.test", "127.0.0.1").configure_cert(context)
    with WebServer({"/x.jpg": serving()}, tls=context) as server:
        trusting = settings(tmp_path, server, ca_file=str(tmp_path / "ca.pem"))
        rows, _, _ = download(
            trusting,
            "https://good.test/x.jpg",
            "https://other.test/x.jpg",
            "https://127.0.0.1/x.jpg",
        )
        assert rows["https://good.test/x.jpg"]["status"] == "ok"
        assert rows["https://other.test/x.jpg"]["status"] == "tls"
        assert rows["https://127.0.0.1/x.jpg"]["status"] == "ok"
        rows, _, _ = download(settings(tmp_path, server), "https://good.test/x.jpg")
        assert rows["https://good.test/x.jpg"]["status"] == "tls"


def test_disk_errors_are_not_swallowed(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with WebServer({"/x.jpg": serving()}) as server:
        batch = pa.RecordBatch.from_pylist(
            [
                {
                    "image_id": b"1" * 16,
                    "url": "http://a.test/x.jpg",
                    "domain": "a",
                    "page_optout": None,
                }
            ]
        )
        with pytest.raises(OSError, match="No space"):
            download_part([batch], settings(tmp_path, server), Full())
