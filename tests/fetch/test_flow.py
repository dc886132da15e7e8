"""Hosts that fail or forbid, deadlines over attempts, and parts that flow into each other."""

import asyncio
import io
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.fetch.coordinator import Coordinator
from pipeline.fetch.flow import download_parts
from pipeline.fetch.limits import Gates
from pipeline.fetch.part import PartFiles, PartResult
from tests.fetch.server import Handler, Request, WebServer
from tests.fetch.test_part import PHOTO, download, robots, serving, settings
from tests.fetch.test_sharing import batch, run_tasks


def urls_of(host: str, count: int, folder: str = "") -> list[str]:
    return [f"http://{host}/{folder}{i}.jpg" for i in range(count)]


def statuses(rows: dict[str, dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(r["status"] for r in rows.values()))


def test_a_host_that_forbids_is_left_alone(tmp_path: Path) -> None:
    for answer in ("403 Forbidden", "401 Unauthorized", "451 Unavailable For Legal Reasons"):
        with WebServer({f"/{i}.jpg": serving(b"no", answer) for i in range(60)}) as server:
            config = settings(tmp_path, server, host_concurrency=1, host_failures=5)
            rows, _, _ = download(config, *urls_of("a.test", 60))
            found = statuses(rows)
            assert found["host_forbids"] == 55, found
            assert len(server.asked("a.test")) == 6  # robots.txt and five pictures
            left = [r for r in rows.values() if r["status"] == "host_forbids"]
            assert {r["status_detail"] for r in left} == {
                f"5 refusals in a row, the last: HTTP {answer[:3]}"
            }
            # It has said so: it is not asked again later.
            assert {r["retry_at"] for r in rows.values()} == {None}


def test_a_host_that_fails_as_well_as_forbids_may_be_asked_later(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving(b"no", "403 Forbidden") for i in range(20)}
    routes |= {f"/{i}.jpg": serving(b"", "500 Oops") for i in range(0, 20, 2)}
    with WebServer(routes) as server:
        config = settings(
            tmp_path, server, host_concurrency=1, host_failures=5, retries=0, backoff_s=0.01
        )
        rows, _, _ = download(config, *urls_of("a.test", 20))
        left = [r for r in rows.values() if r["status"] == "host_given_up"]
        assert len(left) == 15 and all(r["retry_at"] for r in left)
        assert {r["status_detail"][:25] for r in left} == {"5 failures in a row, the l"[:25]}


def test_now_and_then_a_forbidden_picture_is_no_reason(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(0, 40, 2)}
    routes |= {f"/{i}.jpg": serving(b"no", "403 Forbidden") for i in range(1, 40, 2)}
    with WebServer(routes) as server:
        config = settings(tmp_path, server, host_concurrency=1, host_failures=3, placeholder_urls=0)
        rows, _, _ = download(config, *urls_of("a.test", 40))
        assert statuses(rows) == {"ok": 20, "http_403": 20}


def test_what_is_disallowed_takes_no_turn_and_is_never_called_given_up(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {
        "a.test/robots.txt": robots("User-agent: *\nDisallow: /\nCrawl-delay: 1\n"),
        "b.test/robots.txt": robots("User-agent: *\nDisallow: /no/\n"),
        **{f"b.test/{i}.jpg": serving(b"no", "403 Forbidden") for i in range(30)},
    }
    with WebServer(routes) as server:
        # By turns, a.test would take ten minutes.
        config = settings(tmp_path, server, host_interval_s=0.05, host_failures=3, max_part_s=30.0)
        urls = [*urls_of("a.test", 600), *urls_of("b.test", 30), *urls_of("b.test", 30, "no/")]
        rows, _, _ = download(config, *urls)
        assert server.asked("a.test") == ["/robots.txt"]
        assert statuses({u: rows[u] for u in urls[:600]}) == {"robots": 600}
        assert statuses({u: rows[u] for u in urls[630:]}) == {"robots": 30}
        assert {rows[u]["consent"] for u in urls[630:]} == {"robots.txt"}
        assert statuses({u: rows[u] for u in urls[600:630]})["host_forbids"] >= 24
        assert not any("/no/" in path for path in server.asked("b.test"))


def test_the_end_of_a_part_gives_only_up_what_may_be_asked(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(20)}
    routes["/robots.txt"] = robots("User-agent: *\nDisallow: /no/\n")
    with WebServer(routes) as server:
        config = settings(tmp_path, server, host_interval_s=0.5, max_part_s=1.5)
        urls = [
            u for pair in zip(urls_of("a.test", 20), urls_of("a.test", 20, "no/")) for u in pair
        ]
        rows, _, _ = download(config, *urls)
        assert statuses({u: rows[u] for u in urls[1::2]}) == {"robots": 20}
        assert statuses({u: rows[u] for u in urls[::2]})["host_given_up"] > 10


@pytest.mark.parametrize(
    ("answer", "hosts", "status", "asked"),
    [
        (None, {"b.test": "127.0.0.1"}, "dns", 0),
        (serving(b"", "503 Down"), {"*": "127.0.0.1"}, "robots_unavailable", 2),
        (None, {"*": "127.0.0.9"}, "connect", 0),
        (None, {"*": "10.0.0.1"}, "private_address", 0),
    ],
)
def test_a_host_that_fails_costs_its_urls_no_turns(
    answer: Handler | None, hosts: dict[str, str], status: str, asked: int, tmp_path: Path
) -> None:
    with WebServer({"a.test/robots.txt": answer} if answer else {}) as server:
        config = settings(
            tmp_path,
            server,
            hosts=hosts,
            host_interval_s=0.2,
            max_part_s=30.0,
            allowed_networks=("127.0.0.0/8",),
        )
        rows, _, _ = download(config, *urls_of("a.test", 1000))
        assert statuses(rows) == {status: 1000}
        assert server.asked("a.test") == ["/robots.txt"] * asked


def test_a_failing_host_is_asked_ever_more_seldom(tmp_path: Path) -> None:
    broken = serving(b"", "500 Oops")
    with WebServer({f"/{i}.jpg": broken for i in range(20)}) as server:
        config = settings(
            tmp_path, server, host_concurrency=2, host_failures=6, retries=0, backoff_s=0.1
        )
        rows, _, _ = download(config, *urls_of("a.test", 20))
        assert statuses(rows)["host_given_up"] >= 13
        began = [e.began for e in server.events if e.path.endswith("jpg")]
        # Two were under way before the first had failed.
        gaps = [b - a for a, b in itertools.pairwise(began)][1:]
        assert len(gaps) == 4
        for n, gap in enumerate(gaps, start=2):
            assert gap >= 0.1 * 2 ** (n - 1) * 0.5 - 0.02


def test_backoff_has_a_bound_and_differs_by_host() -> None:
    config = settings_without_server()
    gates = Gates(config)
    one, other = gates.host("a.test"), gates.host("b.test")
    waits = []
    for gate in (one, other):
        for _ in range(20):
            gate.fail("HTTP 500", backs_off=True)
        waits.append(gate.state()[3])
    assert all(0 < wait <= config.max_backoff_s for wait in waits)
    one, other = gates.host("c.test"), gates.host("d.test")
    one.fail("HTTP 500", backs_off=True)
    other.fail("HTTP 500", backs_off=True)
    assert abs(one.state()[3] - other.state()[3]) > 1e-4


def settings_without_server() -> Any:
    from pipeline.fetch.settings import DownloadSection

    return DownloadSection(host_failures=1000, max_backoff_s=7.0)


def test_a_host_that_falls_silent_is_not_waited_for_to_the_end(tmp_path: Path) -> None:
    async def hang(request: Request) -> None:
        await asyncio.sleep(60)

    async def stall(request: Request) -> None:
        await request.send(PHOTO[:2000], length=len(PHOTO))
        await asyncio.sleep(60)

    routes = {"a.test/1.jpg": hang, "b.test/1.jpg": stall, "c.test/robots.txt": hang}
    with WebServer(routes) as server:
        config = settings(
            tmp_path, server, timeout_s=60.0, url_timeout_s=120.0, silence_timeout_s=0.3, retries=0
        )
        rows, _, _ = download(config, *(f"http://{host}.test/1.jpg" for host in "abc"))
    statuses = {url[7]: (row["status"], row["status_detail"]) for url, row in rows.items()}
    assert statuses["a"] == statuses["b"] == ("timeout", "the host fell silent")
    assert statuses["c"][0] == "robots_unavailable" and "silent" in statuses["c"][1]
    assert max(row["fetch_ms"] for row in rows.values()) < 20_000


def test_one_deadline_holds_over_all_attempts(tmp_path: Path) -> None:
    async def hang(request: Request) -> None:
        await asyncio.sleep(60)

    with WebServer({"/0.jpg": hang}) as server:
        config = settings(
            tmp_path, server, timeout_s=0.5, url_timeout_s=1.2, retries=10, host_failures=100
        )
        rows, _, _ = download(config, *urls_of("a.test", 1))
        assert statuses(rows) == {"timeout": 1}
        assert 2 <= len([p for p in server.asked("a.test") if p == "/0.jpg"]) <= 3


def test_a_slow_end_of_one_part_does_not_idle_the_pool(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(20)}
    routes["slow.test/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.4\n")
    parts = {0: [*urls_of("slow.test", 8), *urls_of("a.test", 4)]}
    parts |= {p: urls_of(f"{p}.test", 5) for p in range(1, 6)}
    with WebServer(routes) as server:
        config = settings(tmp_path, server, open_parts=2, placeholder_urls=0)
        rows, published = run_tasks(config, parts, tasks=1)
        assert statuses(rows) == {"ok": 37} and sum(published.values()) == 6
        last = max(e.began for e in server.events if e.host == "slow.test")
        others = [e.ended for e in server.events if e.host != "slow.test"]
        assert max(others) < last


def test_redirects_to_a_slow_host_leave_the_places_to_others(tmp_path: Path) -> None:
    async def away(request: Request) -> None:
        await request.send(b"", "302 Found", {"Location": f"http://slow.test{request.path}"})

    routes: dict[str, Handler] = {f"a.test/{i}.jpg": away for i in range(8)}
    routes |= {f"/{i}.jpg": serving() for i in range(20)}
    routes["slow.test/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.3\nDisallow: /7\n")
    with WebServer(routes) as server:
        config = settings(tmp_path, server, concurrency=3, host_interval_s=0.02, placeholder_urls=0)
        urls = [*urls_of("a.test", 8), *urls_of("b.test", 20)]
        rows, _, _ = download(config, *urls)
        assert rows["http://a.test/7.jpg"]["status"] == "robots"
        assert statuses(rows) == {"ok": 27, "robots": 1}
        assert rows["http://a.test/0.jpg"]["final_url"] == "http://slow.test/0.jpg"
        slow = sorted(e.began for e in server.events if e.host == "slow.test")
        others = [e.ended for e in server.events if e.host != "slow.test"]
        assert max(others) < slow[-1]
        assert "/7.jpg" not in server.asked("slow.test")


def test_no_more_parts_are_open_than_allowed_and_each_is_whole(tmp_path: Path) -> None:
    parts = {p: urls_of(f"{p}.test", 3) for p in range(9)}
    is_open: set[int] = set()
    most = 0
    discarded: list[int] = []

    def open_part(part: int) -> PartFiles:
        nonlocal most
        is_open.add(part)
        most = max(most, len(is_open))

        def publish(result: PartResult) -> None:
            assert len(result.rows) == 3
            is_open.discard(part)
            if part == 7:
                raise OSError(28, "No space left on device")

        return PartFiles(
            [batch(parts[part])], io.BytesIO(), publish, lambda: discarded.append(part)
        )

    with WebServer({f"/{i}.jpg": serving(PHOTO) for i in range(3)}) as server:
        config = settings(tmp_path, server, open_parts=3, host_interval_s=0.05)
        with (
            Coordinator(parts, config) as coordinator,
            pytest.raises(OSError, match="No space"),
        ):
            download_parts(open_part, config, coordinator.address)
    assert most <= 3
    assert set(discarded) >= is_open


def test_a_gzip_body_counts_as_what_it_grows_to(tmp_path: Path) -> None:
    import gzip

    from pipeline.fetch.memory import BodyMemory

    asked: list[int] = []
    reserve = BodyMemory.reserve

    async def noted(self: BodyMemory, wanted: int) -> int:
        asked.append(wanted)
        return await reserve(self, wanted)

    bomb = gzip.compress(PHOTO + bytes(2_900_000))
    assert len(bomb) < 40_000
    with WebServer({"/0.jpg": serving(bomb, Content_Encoding="gzip")}) as server:
        config = settings(tmp_path, server, max_body_bytes=3_000_000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BodyMemory, "reserve", noted)
            rows, _, _ = download(config, *urls_of("a.test", 1))
    assert statuses(rows) == {"ok": 1} and asked == [3_000_000]
