"""Names that lead where they must not, asked for by the whole client: nothing inside is reached.

127.0.0.1 plays the public web here (it is the one address allowed); 127.0.0.2 and everything else
that is not global is inside, and a server that listens there writes down who came.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.fakeweb.dnsd import DnsServer, Reply
from pipeline.fetch import connections
from pipeline.fetch.guard import Guard
from pipeline.fetch.resolver import Resolver
from pipeline.fetch.settings import DownloadSection
from tests.fetch.server import Request, WebServer
from tests.fetch.test_part import download, serving, settings

INSIDE = "127.0.0.2"
# Addresses that lead inside: of this machine and the local network, and notations that carry an
# IPv4 address (mapped, NAT64, 6to4, Teredo, compatible), multicast, link-local, unspecified.
INNER = [
    INSIDE,
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.2",
    "::ffff:127.0.0.2",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:2",
    "64:ff9b:1::7f00:2",
    "2002:7f00:2::1",
    "2001:0:7f00:2::1",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


def config_for(tmp_path: Path, web: WebServer, names: DnsServer, **changes: Any) -> DownloadSection:
    values = {"hosts_file": None, "dns_servers": (names.address,), "ipv6": "on", "retries": 0}
    return settings(tmp_path, web, **(values | changes))


@contextmanager
def inside(port: int) -> Iterator[list[str]]:
    """Who connected to the inner address, on the port the client would use."""
    visitors: list[str] = []
    listener = socket.create_server((INSIDE, port))
    listener.settimeout(0.05)
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                continue
            visitors.append(peer[0])
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield visitors
    finally:
        stop.set()
        thread.join()
        listener.close()


@contextmanager
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The resolver lets every address through; the list holds what it gave out."""
    given: list[str] = []

    class Open(Resolver):
        def __init__(self, guard: Guard, *args: Any) -> None:
            super().__init__(Guard.of(("0.0.0.0/0", "::/0")), *args)

        async def resolve(self, *args: Any, **options: Any) -> Any:
            found = await super().resolve(*args, **options)
            given.extend(result["host"] for result in found)
            return found

    with monkeypatch.context() as patch:
        patch.setattr(connections, "Resolver", Open)
        yield given


@contextmanager
def watched_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every address for which a socket was made."""
    made: list[str] = []
    real = Guard.socket

    def make(self: Guard, info: Any) -> socket.socket:
        sock = real(self, info)
        made.append(str(info[4][0]))
        return sock

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "socket", make)
        yield made


def name_of(address: str) -> str:
    return "a" + address.replace(":", "-").replace(".", "-") + "z.test"


@pytest.mark.parametrize("is_filtered", [True, False])
def test_names_of_inner_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_filtered: bool
) -> None:
    """With the resolver's filter and without it: the check on the socket alone is enough."""
    replies = {name_of(a): Reply((a,)) for a in INNER}
    with (
        WebServer({"/x.jpg": serving()}) as web,
        DnsServer(replies) as names,
        inside(web.port) as visitors,
        watched_connections(monkeypatch) as sockets,
    ):
        config = config_for(tmp_path, web, names)
        urls = {a: f"http://{name_of(a)}/x.jpg" for a in INNER}
        if is_filtered:
            rows, _, _ = download(config, *urls.values())
        else:
            with unfiltered(monkeypatch) as given:
                rows, _, _ = download(config, *urls.values())
            assert set(given) == set(INNER)
        statuses = {a: rows[url]["status"] for a, url in urls.items()}
        assert statuses == dict.fromkeys(INNER, "private_address")
        assert not sockets and not visitors and not web.log


def test_an_inner_address_among_others_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = {"a.test": Reply(("127.0.0.1", INSIDE, "::1", "64:ff9b::7f00:2"))}
    with (
        WebServer({"/x.jpg": serving()}) as web,
        DnsServer(replies) as names,
        inside(web.port) as visitors,
        watched_connections(monkeypatch) as sockets,
    ):
        rows, _, _ = download(config_for(tmp_path, web, names), "http://a.test/x.jpg")
        assert rows["http://a.test/x.jpg"]["status"] == "ok"
        assert set(sockets) == {"127.0.0.1"} and not visitors


async def _hang_up(request: Request) -> None:
    """Answers robots.txt and ends the connection, so that the picture needs a new one."""
    await request.send(b"", headers={"Connection": "close"})
    request.writer.close()


def rebinding(*later: str) -> dict[str, Sequence[Reply]]:
    """Public when it is looked up first (for robots.txt), inside when it is connected to again."""
    return {"a.test": [Reply(("127.0.0.1",), ttl_s=0), Reply(later, ttl_s=0)]}


@pytest.mark.parametrize("later", [INSIDE, "::ffff:127.0.0.2", "64:ff9b::7f00:2", "::1"])
@pytest.mark.parametrize("is_filtered", [True, False])
def test_rebinding_between_two_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, is_filtered: bool
) -> None:
    routes = {"/robots.txt": _hang_up, "/x.jpg": serving()}
    # Every lookup goes to the name server: as bad as it can be.
    changes: dict[str, Any] = {"dns_min_ttl_s": 0.0, "dns_max_ttl_s": 0.0, "ipv6": "on"}
    with (
        WebServer(routes) as web,
        DnsServer(rebinding(later)) as names,
        inside(web.port) as visitors,
        watched_connections(monkeypatch) as sockets,
    ):
        config = config_for(tmp_path, web, names, **changes)
        if is_filtered:
            rows, _, _ = download(config, "http://a.test/x.jpg")
        else:
            with unfiltered(monkeypatch):
                rows, _, _ = download(config, "http://a.test/x.jpg")
        assert rows["http://a.test/x.jpg"]["status"] == "private_address"
        assert web.asked("a.test") == ["/robots.txt"]
        assert set(sockets) == {"127.0.0.1"} and not visitors
        assert names.asked("a.test") >= 2


def test_a_kept_answer_leaves_nothing_to_rebind(tmp_path: Path) -> None:
    """With the default bounds a TTL of 0 is held for a minute: the second answer is not seen."""
    routes = {"/robots.txt": _hang_up, "/x.jpg": serving()}
    with (
        WebServer(routes) as web,
        DnsServer(rebinding(INSIDE)) as names,
        inside(web.port) as visitors,
    ):
        rows, _, _ = download(config_for(tmp_path, web, names), "http://a.test/x.jpg")
        assert rows["http://a.test/x.jpg"]["status"] == "ok"
        assert names.asked("a.test") == 1 and not visitors


# The same two addresses in notations that URLs allow. Source: WHATWG URL, "IPv4 number parser".
ODD = [
    "127.0.0.2", "127.2", "127.0.2", "0x7f.0.0.2", "0177.0.0.02", "2130706434", "0x7f000002",
    "017700000002", "127.0.0.2.", "127%2e0%2e0%2e2", "%31%32%37.0.0.2", "１２７.0.0.2",
    "127。0。0。2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[0:0:0:0:0:ffff:127.0.0.2]",
    "[::127.0.0.2]", "[64:ff9b::127.0.0.2]", "[2002:7f00:2::]", "[2001:0:7f00:2::]", "[::1]",
    "[::]", "[fe80::1]", "[ff02::1]", "0", "0.0.0.0",
]  # fmt: skip


@pytest.mark.parametrize("is_filtered", [True, False])
def test_literals_and_redirects_in_odd_notations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_filtered: bool
) -> None:
    def to(host: str) -> Any:
        async def handler(request: Request) -> None:
            where = f"http://{host}/x.jpg"
            await request.send(b"", "302 Found", {"Location": where.encode().decode("latin-1")})

        return handler

    redirects = {f"/to{n}": to(host) for n, host in enumerate(ODD)}
    with (
        WebServer({"/x.jpg": serving(), **redirects}) as web,
        DnsServer({"good.test": Reply(("127.0.0.1",))}) as names,
        inside(web.port) as visitors,
        watched_connections(monkeypatch) as sockets,
    ):
        config = config_for(tmp_path, web, names)
        direct = {f"http://{host}/x.jpg": host for host in ODD}
        hops = {f"http://good.test{path}": host for path, host in zip(redirects, ODD, strict=True)}
        if is_filtered:
            rows, _, _ = download(config, *direct, *hops)
        else:
            with unfiltered(monkeypatch):
                rows, _, _ = download(config, *direct, *hops)
        wrong = {u: r["status"] for u, r in rows.items() if r["status"] != "private_address"}
        assert not wrong
        assert not visitors and set(sockets) == {"127.0.0.1"}
        assert {host for host, _ in web.log} == {"good.test"}


def test_robots_txt_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect of robots.txt, and one to a name that leads inside."""

    async def robots(request: Request) -> None:
        await request.send(b"", "301 Moved", {"Location": "http://inner.test/robots.txt"})

    replies = {"a.test": Reply(("127.0.0.1",)), "inner.test": Reply((INSIDE,))}
    with (
        WebServer({"/robots.txt": robots, "/x.jpg": serving()}) as web,
        DnsServer(replies) as names,
        inside(web.port) as visitors,
    ):
        config = config_for(tmp_path, web, names)
        download(config, "http://a.test/x.jpg")
        with unfiltered(monkeypatch):
            download(config, "http://a.test/x.jpg")
        assert not visitors


def test_this_machine_by_its_name(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as web, DnsServer({}) as names:
        config = config_for(tmp_path, web, names, allowed_networks=())
        urls = [f"http://{host}:{web.port}/x.jpg" for host in ("localhost", "X.LOCALHOST.")]
        rows, _, _ = download(config, *urls)
        assert {r["status"] for r in rows.values()} == {"private_address"}
        assert not web.log and not names.log


def test_the_inner_server_would_be_seen(tmp_path: Path) -> None:
    """With the inner address allowed the same client does get there: the tests above can fail."""
    with (
        WebServer({"/x.jpg": serving()}) as web,
        DnsServer({"a.test": Reply((INSIDE,))}) as names,
        inside(web.port) as visitors,
    ):
        config = config_for(tmp_path, web, names, allowed_networks=("127.0.0.0/8",))
        download(config, "http://a.test/x.jpg")
        assert visitors
