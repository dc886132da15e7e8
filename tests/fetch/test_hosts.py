"""What robots.txt files said is asked for once, kept as long as it holds, and kept to: all read from
the server's log."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.tables import HOSTS
from pipeline.fetch import known_hosts
from pipeline.fetch.hosts_table import fold
from pipeline.fetch.known_hosts import DAY_S, KnownHosts, Origin
from pipeline.fetch.pool import close_pools
from pipeline.fetch.robots import Rules, parse
from tests.fetch.server import Handler, Request, WebServer
from tests.fetch.test_part import download, serving, settings

HOUR_S = 3600


@pytest.fixture(scope="module", autouse=True)
def _no_decoders_left() -> Iterator[None]:
    yield
    close_pools()


def robots(text: str) -> Handler:
    return serving(text.encode(), Content_Type="text/plain")


def redirect(to: str) -> Handler:
    return serving(b"", "301 Moved Permanently", Location=to)


class Runs:
    """Runs one after the other over one hosts table, at times of their own."""

    def __init__(self, tmp_path: Path, server: WebServer, **changes: Any) -> None:
        self.store = Store(str(tmp_path / "shared"))
        self._server = server
        self._settings = settings(tmp_path, server, placeholder_urls=0, **changes)

    def at(self, seconds: float, *urls: str) -> tuple[dict[str, str], list[str]]:
        """The statuses of a run at some time, and which hosts were asked for robots.txt in it."""
        fold(self.store, lambda: seconds)
        known = KnownHosts(self.store, "Pairmill", clock=lambda: seconds)
        self._server.log.clear()
        rows, _, _ = download(self._settings, *urls, known=known)
        asked = [host for host, path in self._server.log if path == "/robots.txt"]
        return {url: row["status"] for url, row in rows.items()}, sorted(asked)


def test_within_a_day_a_site_is_asked_once_and_after_it_once_more(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {
        "/x.jpg": serving(),
        "/no/x.jpg": serving(),
        "a.test/robots.txt": robots("User-agent: *\nDisallow: /no/\n"),
        "c.test/robots.txt": robots("User-agent: *\nDisallow: /\n"),
        "d.test/jump.jpg": redirect("http://elsewhere.test/x.jpg"),
        "elsewhere.test/robots.txt": robots("User-agent: other\nDisallow: /\n"),
    }
    urls = [
        "http://a.test/x.jpg",
        "http://a.test/no/x.jpg",
        "http://b.test/x.jpg",
        "http://c.test/x.jpg",
        "http://d.test/jump.jpg",
    ]
    expected = dict(zip(urls, ["ok", "robots", "ok", "robots", "ok"], strict=True))
    sites = ["a.test", "b.test", "c.test", "d.test", "elsewhere.test"]
    with WebServer(routes) as server:
        runs = Runs(tmp_path, server)
        assert runs.at(1_000, *urls) == (expected, sites)
        for later_s in (1, HOUR_S, DAY_S - 1):
            assert runs.at(1_000 + later_s, *urls) == (expected, [])
            assert "/no/x.jpg" not in server.asked("a.test") and not server.asked("c.test")
        assert runs.at(1_000 + DAY_S, *urls) == (expected, sites)
        assert runs.at(1_001 + DAY_S, *urls) == (expected, [])


def test_many_pictures_of_many_hosts_ask_once_per_host(tmp_path: Path) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.1)
        await request.send(b"User-agent: *\nDisallow: /no/\n")

    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(8)}
    routes |= {"/robots.txt": slow, "/jump.jpg": redirect("http://a.test/0.jpg")}
    urls = [f"http://{h}.test/{i}.jpg" for h in "abcde" for i in range(8)]
    urls += [f"http://{h}.test/jump.jpg" for h in "bcdefg"]
    with WebServer(routes) as server:
        statuses, asked = Runs(tmp_path, server).at(0, *urls)
        assert set(statuses.values()) == {"ok"}
        assert asked == [f"{h}.test" for h in "abcdefg"]


def test_what_cannot_be_had_forbids_for_an_hour_then_for_two(tmp_path: Path) -> None:
    url = "http://a.test/x.jpg"
    routes = {"/x.jpg": serving(), "/robots.txt": serving(b"", "503 Unavailable")}
    with WebServer(routes) as server:
        runs = Runs(tmp_path, server, retries=0)
        refused = {url: "robots_unavailable"}
        assert runs.at(0, url) == (refused, ["a.test"])
        assert runs.at(HOUR_S - 1, url) == (refused, [])
        assert runs.at(HOUR_S, url) == (refused, ["a.test"])
        assert runs.at(3 * HOUR_S - 1, url) == (refused, [])
        assert "/x.jpg" not in server.asked("a.test")
        server.routes["/robots.txt"] = robots("User-agent: *\nDisallow:\n")
        assert runs.at(3 * HOUR_S, url) == ({url: "ok"}, ["a.test"])
        assert runs.at(27 * HOUR_S - 1, url) == ({url: "ok"}, [])


def test_retry_after_of_robots_txt_is_waited_for(tmp_path: Path) -> None:
    times: list[float] = []

    async def busy_once(request: Request) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            await request.send(b"", "503 Unavailable", {"Retry-After": "1"})
        else:
            await request.send(b"User-agent: *\nDisallow:\n")

    url = "http://a.test/x.jpg"
    with WebServer({"/x.jpg": serving(), "/robots.txt": busy_once}) as server:
        assert Runs(tmp_path, server).at(0, url) == ({url: "ok"}, ["a.test"] * 2)
    assert times[1] - times[0] > 0.9


def test_a_long_retry_after_of_robots_txt_is_kept_to(tmp_path: Path) -> None:
    url = "http://a.test/x.jpg"
    busy = serving(b"", "429 Too Many Requests", Retry_After=str(5 * HOUR_S))
    with WebServer({"/x.jpg": serving(), "/robots.txt": busy}) as server:
        runs = Runs(tmp_path, server, retries=3)
        assert runs.at(0, url) == ({url: "robots_unavailable"}, ["a.test"])
        assert runs.at(5 * HOUR_S - 1, url) == ({url: "robots_unavailable"}, [])
        assert runs.at(5 * HOUR_S, url) == ({url: "robots_unavailable"}, ["a.test"])


def test_a_robots_txt_that_hangs_costs_its_host_alone(tmp_path: Path) -> None:
    async def hang(request: Request) -> None:
        await asyncio.sleep(60)

    urls = [f"http://{h}.test/x.jpg" for h in "ab"]
    with WebServer({"/x.jpg": serving(), "a.test/robots.txt": hang}) as server:
        statuses, asked = Runs(tmp_path, server, retries=1, timeout_s=0.5).at(0, *urls)
        assert statuses == dict(zip(urls, ["robots_unavailable", "ok"], strict=True))
        assert asked == ["a.test", "a.test", "b.test"] and "/x.jpg" not in server.asked("a.test")


@pytest.mark.parametrize(
    ("location", "status"),
    [
        ("http://127.0.0.2/robots.txt", "robots_unavailable"),
        ("http://169.254.169.254/robots.txt", "robots_unavailable"),
        ("http://nowhere.invalid/robots.txt", "robots_unavailable"),
        ("file:///etc/passwd", "ok"),  # as if there were none
        ("/other.txt", "robots"),
    ],
)
def test_where_robots_txt_is_redirected_to(location: str, status: str, tmp_path: Path) -> None:
    url = "http://a.test/x.jpg"
    routes = {
        "/x.jpg": serving(),
        "/robots.txt": redirect(location),
        "/other.txt": robots("User-agent: *\nDisallow: /\n"),
    }
    with WebServer(routes) as server:
        runs = Runs(tmp_path, server, hosts={"a.test": "127.0.0.1"}, retries=0)
        assert runs.at(0, url)[0] == {url: status}
        assert {host for host, _ in server.log} == {"a.test"}


def test_redirected_robots_txt_keeps_the_limit_of_the_other_host(tmp_path: Path) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.02)
        await request.send(b"User-agent: *\nDisallow: /no/\n")

    routes = {"/robots.txt": redirect("http://one.test/policy.txt"), "/policy.txt": slow}
    routes |= {"/x.jpg": serving(), "/no/x.jpg": serving()}
    urls = [f"http://h{i}.test{path}/x.jpg" for i in range(30) for path in ("", "/no")]
    with WebServer(routes) as server:
        statuses, _ = Runs(tmp_path, server, host_concurrency=2).at(0, *urls)
        assert sorted(statuses.values()) == ["ok"] * 30 + ["robots"] * 30
        assert server.asked("one.test") == ["/policy.txt"] * 30
        assert max(server.most_active.values()) == 2
        assert not any(path == "/no/x.jpg" for _, path in server.log)


def test_robots_txt_of_two_hosts_that_lead_to_each_other(tmp_path: Path) -> None:
    routes: dict[str, Handler] = {f"/{i}.jpg": serving() for i in range(6)}
    routes["a.test/robots.txt"] = redirect("http://b.test/robots.txt")
    routes["b.test/robots.txt"] = redirect("http://a.test/robots.txt")
    urls = [f"http://{h}.test/{i}.jpg" for h in "ab" for i in range(6)]
    with WebServer(routes) as server:
        runs = Runs(tmp_path, server, host_concurrency=1, timeout_s=0.5, retries=0)
        statuses, _ = runs.at(0, *urls)
        assert set(statuses.values()) <= {"ok", "robots_unavailable"}


def test_a_crawl_delay_is_kept_to_or_the_host_left_alone(tmp_path: Path) -> None:
    times: list[float] = []

    async def timed(request: Request) -> None:
        times.append(asyncio.get_running_loop().time())
        await request.send(b"")

    routes: dict[str, Handler] = {f"/{i}.jpg": timed for i in range(3)}
    routes["a.test/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.4\n")
    routes["b.test/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0.6\n")
    urls = [f"http://{h}.test/{i}.jpg" for h in "ab" for i in range(3)]
    with WebServer(routes) as server:
        config = settings(tmp_path, server, max_crawl_delay_s=0.5, retries=0)
        rows, _, _ = download(config, *urls)
        assert server.asked("b.test") == ["/robots.txt"]
    assert {rows[url]["status"] for url in urls[:3]} == {"empty"}
    for url in urls[3:]:
        row = rows[url]
        assert (row["status"], row["consent"]) == ("robots", "robots.txt")
        assert row["status_detail"] == "Crawl-delay of 0.6 s, over max_crawl_delay_s = 0.5"
    assert len(times) == 3 and min(b - a for a, b in itertools.pairwise(times)) > 0.35


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        ("404 Not Found", {}, "http_404"),
        ("403 Forbidden", {}, "http_403"),
        ("503 Unavailable", {}, "http_5xx"),
        ("429 Too Many Requests", {}, "http_429"),
        ("302 Found", {"Location": "/good.jpg"}, "ok"),
    ],
)
def test_headers_of_what_is_no_picture_opt_nothing_out(
    status: str, headers: dict[str, str], expected: str, tmp_path: Path
) -> None:
    async def refuse(request: Request) -> None:
        await request.send(b"", status, {"X-Robots-Tag": "noindex, noai", **headers})

    url = "http://a.test/x.jpg"
    with WebServer({"/x.jpg": refuse, "/good.jpg": serving()}) as server:
        assert Runs(tmp_path, server, retries=2).at(0, url)[0] == {url: expected}
        is_retried = expected in ("http_5xx", "http_429")
        assert server.asked("a.test").count("/x.jpg") == (3 if is_retried else 1)


def test_retry_after_of_an_answer_that_opts_out_is_waited_for(tmp_path: Path) -> None:
    times: list[float] = []

    async def busy_once(request: Request) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            fields = {"Retry-After": "1", "X-Robots-Tag": "noai"}
            await request.send(b"", "429 Too Many Requests", fields)
        else:
            await serving()(request)

    url = "http://a.test/x.jpg"
    with WebServer({"/x.jpg": busy_once}) as server:
        assert Runs(tmp_path, server).at(0, url)[0] == {url: "ok"}
    assert times[1] - times[0] > 0.9


ANYTHING = st.one_of(
    st.just(Rules()),
    st.just(parse(b"User-agent: *\nDisallow: /\xea\xb0\x80*$\nCrawl-delay: 2.5\n", "x")),
    st.sampled_from([Status.ROBOTS_UNAVAILABLE, Status.CONNECT]).map(
        lambda status: Rules(failure=(status, "why"))
    ),
)
ORIGINS = st.tuples(
    st.sampled_from(["http", "https"]),
    st.sampled_from([f"h{i}.test" for i in range(200)] + ["::1", "xn--3e0b707e.kr"]),
    st.sampled_from([80, 443, 8080]),
)


@hypothesis.settings(max_examples=12)
@given(st.lists(st.dictionaries(ORIGINS, ANYTHING, max_size=8), max_size=4))
def test_what_is_learnt_is_known_to_the_next_and_the_newest_counts(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[Origin, Rules]]
) -> None:
    store = Store(str(tmp_path_factory.mktemp("hosts")))
    last: dict[Origin, Rules] = {}
    for now, learnt in enumerate(batches):
        known = KnownHosts(store, "Pairmill", clock=lambda now=now: float(now))  # type: ignore[misc]
        for origin, rules in learnt.items():
            known.learn(origin, rules)
        assert known.publish() == len(learnt)
        last |= learnt
        if now % 2:
            fold(store, lambda: 10.0)
    fold(store, lambda: 10.0)
    assert list(Path(store.path(HOSTS.name)).glob("learnt/*")) == []
    hosts = {host for _, host, _ in last}
    for agent, expected in (("Pairmill", last), ("Other", {})):
        known = KnownHosts(store, agent, clock=lambda: 100.0)
        known.load(hosts)
        found = {origin: known.get(origin) for origin in last}
        assert {o: known.rules(k) for o, k in found.items() if k is not None} == expected
    fold(store, lambda: 0.0)


def test_what_is_forgotten_is_found_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_hosts, "_KNOWN_BYTES", 20_000)
    monkeypatch.setattr(known_hosts, "_PARSED_BYTES", 5_000)
    store = Store(str(tmp_path))
    known = KnownHosts(store, "Pairmill", clock=lambda: 0.0)
    sites = [("http", f"h{i}.test", 80) for i in range(200)]
    said = [parse(f"User-agent: *\nDisallow: /{i}/\n".encode(), "x") for i in range(200)]
    for site, rules in zip(sites, said, strict=True):
        known.learn(site, rules)
    # What nobody has been told yet is not forgotten.
    assert all(known.get(site) is not None for site in sites)
    known.publish()
    assert sum(known.get(site) is not None for site in sites) < 40
    fold(store, lambda: 0.0)
    for site, rules in zip(sites, said, strict=True):
        known.load([site[1]])
        found = known.get(site)
        assert found is not None and known.rules(found) == rules


def test_old_rows_and_leftovers_go(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    fold(store)  # nothing there yet
    for now in (0, 3 * DAY_S):
        known = KnownHosts(store, "Pairmill", clock=lambda now=now: now)  # type: ignore[misc]
        known.learn(("http", "a.test" if now else "old.test", 80), Rules())
        known.learn(("http", "dns.test", 80), Rules(failure=(Status.DNS, "no such name")))
        assert known.publish() == 1 and known.publish() == 0
    (tmp_path / "hosts" / "learnt" / ".writing-1-x.parquet").write_bytes(b"half")
    fold(store, lambda: 3 * DAY_S)
    late = KnownHosts(store, "Pairmill", clock=lambda: 0)
    late.load(["a.test", "old.test", "dns.test"])
    names = ("a.test", "old.test", "dns.test")
    assert [late.get(("http", name, 80)) is not None for name in names] == [True, False, False]
    assert not list((tmp_path / "hosts").rglob(".writing-*"))
