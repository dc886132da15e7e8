"""Tasks that run at once keep one limit together: read from the server's log."""

import asyncio
import io
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.ids import image_id
from pipeline.fetch.coordinator import Coordinator
from pipeline.fetch.flow import download_parts
from pipeline.fetch.gate import Gate
from pipeline.fetch.limits import Gates
from pipeline.fetch.part import PartFiles, PartResult
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.shared_sites import SharedSites
from pipeline.fetch.task_link import TaskLink
from tests.fetch.server import Event, Handler, Request, WebServer
from tests.fetch.test_part import PHOTO, reset, robots, settings

# How late a request may be written down: it makes the next seem closer. A rate that several tasks
# do not share is over its limit by far more in any of the logs below.
_LATE_S = 0.15


async def slow(request: Request) -> None:
    await asyncio.sleep(0.03)
    await request.send(PHOTO)


def batch(urls: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array([image_id(u) for u in urls], pa.binary()),
            "url": pa.array(urls, pa.string()),
            "domain": pa.array(["example"] * len(urls), pa.string()),
            "page_optout": pa.array([None] * len(urls), pa.string()),
        }
    )


def run_tasks(
    config: DownloadSection, parts: dict[int, list[str]], tasks: int
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Rows by URL, and how many parts each task published."""
    rows: dict[bytes, dict[str, Any]] = {}
    by_task: dict[str, int] = defaultdict(int)
    errors: list[BaseException] = []

    def open_part(part: int) -> PartFiles:
        task = threading.current_thread().name.split("_")[0]

        def publish(result: PartResult) -> None:
            assert sorted(r["image_id"] for r in result.rows) == sorted(map(image_id, parts[part]))
            assert not any(r["image_id"] in rows for r in result.rows)
            rows.update((r["image_id"], r) for r in result.rows)
            by_task[task] += 1

        return PartFiles([batch(parts[part])], io.BytesIO(), publish, lambda: None)

    def task(address: Any) -> None:
        try:
            download_parts(open_part, config, address)
        except Exception as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    with Coordinator(parts, config) as coordinator:
        threads = [threading.Thread(target=task, args=(coordinator.address,)) for _ in range(tasks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
    assert errors == []
    return {u: rows[image_id(u)] for urls in parts.values() for u in urls}, dict(by_task)


def assert_rate(events: list[Event], interval_s: float) -> None:
    """Any n + 1 requests in a row took n intervals at least."""
    times = sorted(e.began for e in events)
    for i, first in enumerate(times):
        for j in range(i + 1, len(times)):
            assert times[j] - first >= (j - i) * interval_s - _LATE_S, (i, j, times)


def giant(parts: int, urls: int) -> dict[int, list[str]]:
    return {p: [f"http://a.test/{p}-{i}.jpg" for i in range(urls)] for p in range(parts)}


def test_more_tasks_than_the_limit_share_a_giant_host(tmp_path: Path) -> None:
    parts = giant(parts=6, urls=12)
    with WebServer({f"/{p}-{i}.jpg": slow for p in range(6) for i in range(12)}) as server:
        config = settings(
            tmp_path,
            server,
            host_concurrency=2,
            host_interval_s=0.05,
            open_parts=1,
            placeholder_urls=0,
        )
        rows, _ = run_tasks(config, parts, tasks=6)
        assert {r["status"] for r in rows.values()} == {"ok"}
        assert server.most_at_once(server.events) <= 2
        assert_rate(server.events, 0.05)
        asked = [path.split("-")[0] for path in server.asked("a.test") if "-" in path]
        # The parts took turns: none had the host for itself until it was done.
        assert len({a for a in asked[:36]}) >= 3


def test_robots_txt_is_asked_for_once_whatever_the_number_of_tasks(tmp_path: Path) -> None:
    async def slow_robots(request: Request) -> None:
        await asyncio.sleep(0.2)
        await request.send(b"User-agent: *\nDisallow: /no/\n")

    async def away(request: Request) -> None:
        await request.send(b"", "302 Found", {"Location": f"http://cdn.test{request.path}"})

    async def dead(request: Request) -> None:
        await request.send(b"", "503 Service Unavailable")

    folders = ("", "no/")
    parts = {
        p: [f"http://{h}.test/{f}{p}-{i}.jpg" for h in "abcx" for f in folders for i in range(3)]
        for p in range(5)
    }
    paths = [f"/{f}{p}-{i}.jpg" for f in folders for p in range(5) for i in range(3)]
    routes: dict[str, Handler] = {path: slow for path in paths}
    routes |= {f"c.test{path}": away for path in paths}
    routes |= {"/robots.txt": slow_robots, "x.test/robots.txt": dead}
    with WebServer(routes) as server:
        config = settings(tmp_path, server, open_parts=1, placeholder_urls=0, retries=0)
        rows, _ = run_tasks(config, parts, tasks=5)
        asked = Counter(host for host, path in server.log if path == "/robots.txt")
        assert asked == dict.fromkeys(["a.test", "b.test", "c.test", "cdn.test", "x.test"], 1)
        assert not any(path.startswith("/no/") for _, path in server.log)
        assert set(server.asked("x.test")) == {"/robots.txt"}
    found = Counter((url[7], "/no/" in url, row["status"]) for url, row in rows.items())
    assert found == {
        **{(h, False, "ok"): 15 for h in "abc"},
        **{(h, True, "robots"): 15 for h in "abc"},
        **{("x", no, "robots_unavailable"): 15 for no in (False, True)},
    }


def test_who_asks_a_site_and_who_is_told() -> None:
    told: list[tuple[str, Any]] = []
    now = 0.0
    sites: SharedSites[str] = SharedSites(
        lambda task, key, answer: told.append((task, answer)), lambda: now
    )
    key, answer = ("http", "a.test", 80), ["", None, None, 0, 0, 100]

    def happened() -> list[tuple[str, Any]]:
        found, told[:] = list(told), []
        return found

    for task in ("first", "second", "third", "fourth"):
        sites.wanted(task, key)
    assert happened() == [("first", None)]
    sites.lost("first")
    assert happened() == [("second", None)]
    sites.lost("third")
    sites.learnt("second", key, None)  # its host was given up, say
    assert happened() == [("fourth", None)]
    sites.wanted("second", key)
    sites.learnt("fourth", key, answer)
    sites.wanted("fifth", key)
    assert happened() == [("second", answer), ("fifth", answer)]
    now = 100.0
    sites.wanted("sixth", key)
    assert happened() == [("sixth", None)]


def test_a_crawl_delay_holds_for_all_tasks(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{p}-{i}.jpg": slow for p in range(5) for i in range(3)}
    routes["/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.2\n")
    with WebServer(routes) as server:
        config = settings(tmp_path, server, open_parts=1, placeholder_urls=0)
        rows, _ = run_tasks(config, giant(parts=5, urls=3), tasks=5)
        assert {r["status"] for r in rows.values()} == {"ok"}
        assert server.most_at_once(server.events) == 1
        assert_rate(server.events, 0.2)


def test_a_pause_holds_for_all_tasks(tmp_path: Path) -> None:
    async def busy_once(request: Request) -> None:
        if not any(path.endswith("jpg") for _, path in server.log[:-1]):
            await request.send(b"", "429 Too Many Requests", {"Retry-After": "2"})
        else:
            await request.send(PHOTO)

    routes: dict[str, Handler] = {f"/{p}-{i}.jpg": busy_once for p in range(4) for i in range(4)}
    with WebServer(routes) as server:
        config = settings(tmp_path, server, host_concurrency=1, open_parts=1, placeholder_urls=0)
        rows, _ = run_tasks(config, giant(parts=4, urls=4), tasks=4)
        assert {r["status"] for r in rows.values()} == {"ok"}
        busy = next(e for e in server.events if e.path.endswith("jpg"))
        after = [e.began for e in server.events if e.began > busy.ended]
        assert min(after) - busy.ended >= 2 - _LATE_S


def test_an_open_breaker_holds_for_all_tasks(tmp_path: Path) -> None:
    with WebServer({f"/{p}-{i}.jpg": reset for p in range(4) for i in range(10)}) as server:
        config = settings(
            tmp_path, server, host_concurrency=1, host_failures=5, retries=0, open_parts=1
        )
        rows, _ = run_tasks(config, giant(parts=4, urls=10), tasks=4)
        statuses = sorted(r["status"] for r in rows.values())
        assert statuses == ["disconnected"] * 5 + ["host_given_up"] * 35
        assert len([path for path in server.asked("a.test") if path.endswith("jpg")]) == 5


def test_a_host_that_forbids_one_task_forbids_all(tmp_path: Path) -> None:
    async def refuse(request: Request) -> None:
        await request.send(b"", "403 Forbidden")

    with WebServer({f"/{p}-{i}.jpg": refuse for p in range(4) for i in range(10)}) as server:
        config = settings(tmp_path, server, host_concurrency=1, host_failures=5, open_parts=1)
        rows, _ = run_tasks(config, giant(parts=4, urls=10), tasks=4)
        statuses = Counter(r["status"] for r in rows.values())
        assert statuses == {"http_403": 5, "host_forbids": 35}
        assert len([path for path in server.asked("a.test") if path.endswith("jpg")]) == 5


def test_names_on_one_address_share_its_limit(tmp_path: Path) -> None:
    names = {f"{c}.test": "127.0.0.1" for c in "abcdef"} | {"x.test": "127.0.0.2"}
    parts = {
        p: [f"http://{n}/{i}.jpg" for n in list(names)[p::2] for i in range(6)] for p in range(2)
    }
    routes: dict[str, Handler] = {f"/{i}.jpg": slow for i in range(6)}
    with WebServer(routes, addresses=("127.0.0.1", "127.0.0.2")) as server:
        config = settings(
            tmp_path,
            server,
            hosts=names,
            allowed_networks=("127.0.0.0/8",),
            address_concurrency=3,
            address_interval_s=0.03,
            open_parts=1,
            placeholder_urls=0,
        )
        rows, _ = run_tasks(config, parts, tasks=2)
        assert {r["status"] for r in rows.values()} == {"ok"}
        for address in ("127.0.0.1", "127.0.0.2"):
            events = [e for e in server.events if e.address == address]
            assert server.most_at_once(events) <= 3
            assert_rate(events, 0.03)
        assert {e.host for e in server.events if e.address == "127.0.0.2"} == {"x.test"}


def test_redirects_of_all_tasks_share_their_target(tmp_path: Path) -> None:
    async def away(request: Request) -> None:
        where = f"http://cdn.test/{request.host}{request.path}"
        await request.send(b"", "302 Found", {"Location": where})

    parts = {p: [f"http://{p}{h}.test/{i}.jpg" for h in "ab" for i in range(4)] for p in range(3)}
    routes: dict[str, Handler] = {f"/{i}.jpg": away for i in range(4)}
    for urls in parts.values():
        routes |= {f"cdn.test/{u.removeprefix('http://')}": slow for u in urls}
    with WebServer(routes) as server:
        config = settings(
            tmp_path, server, host_concurrency=2, host_interval_s=0.03, placeholder_urls=0
        )
        rows, _ = run_tasks(config, parts, tasks=3)
        assert {r["status"] for r in rows.values()} == {"ok"}
        events = [e for e in server.events if e.host == "cdn.test"]
        assert len([e for e in events if e.path != "/robots.txt"]) == 24
        assert server.most_at_once(events) <= 2
        assert_rate(events, 0.03)


def test_an_ipv6_site_is_one_address() -> None:
    gates = Gates(DownloadSection())
    assert gates.address("2001:db8:1:2::1") is gates.address("2001:db8:1:2:ffff::9")
    assert gates.address("2001:db8:1:2::1") is not gates.address("2001:db8:1:3::1")
    assert gates.address("::ffff:192.0.2.1") is gates.address("192.0.2.1")
    assert gates.address("192.0.2.1") is not gates.address("192.0.2.2")


def test_what_a_lost_task_held_is_free_again_and_keeps_its_state() -> None:
    config = DownloadSection(host_interval_s=0.0)

    async def connected(gates: dict[int, Gates], number: int, address: Any) -> Any:
        link = await TaskLink.connect(address)
        gates[number] = Gates(config, link)
        serving = asyncio.create_task(link.serve(gates[number], lambda gate: True))
        return link, serving

    async def held(gate: Gate) -> None:
        async with asyncio.timeout(10):
            while not gate.is_ours:
                await asyncio.sleep(0.01)

    async def main(address: Any) -> None:
        gates: dict[int, Gates] = {}
        first, serving = await connected(gates, 1, address)
        second, _ = await connected(gates, 2, address)
        assert await first.claim() == 7
        assert await second.claim() is None
        mine, theirs = gates[1].host("a.test"), gates[2].host("a.test")
        gates[1].want(mine)
        await held(mine)
        mine.slow_down(5.0)
        gates[2].want(theirs)
        await asyncio.sleep(0.1)
        assert not theirs.is_ours
        serving.cancel()
        await held(theirs)
        assert (theirs.limit, theirs.interval_s, theirs.active) == (1, 5.0, 0)
        assert await second.claim() == 7

    with Coordinator([7], config) as coordinator:
        asyncio.run(main(coordinator.address))


def test_a_stranger_is_not_served() -> None:
    async def main(address: Any) -> None:
        host, port, _ = address
        link = await TaskLink.connect((host, port, "guess"))
        serving = asyncio.create_task(link.serve(Gates(DownloadSection(), link), lambda g: True))
        claim = asyncio.create_task(link.claim())
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(serving, 10)
        claim.cancel()

    with Coordinator([1], DownloadSection()) as coordinator:
        asyncio.run(main(coordinator.address))
