"""The check before the first picture: broken resolution is told with advice, the rest let through."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fakeweb.dnsd import NO_SUCH_NAME, DnsServer, Reply
from pipeline.fetch.check_names import check_names, host_names
from pipeline.fetch.nameservers import NameServers

HOSTS = [f"h{n}.test" for n in range(10)]
GOOD = Reply(("192.0.2.1",))


def check(names: Mapping[str, Any], time_s: float = 2.0, timeout_s: float = 0.2) -> DnsServer:
    with DnsServer(names) as server:
        check_names(NameServers((server.address,), timeout_s, with_ipv6=False), HOSTS, time_s)
    return server


def names(good: int, other: Reply) -> dict[str, Reply]:
    return {host: GOOD if n < good else other for n, host in enumerate(HOSTS)}


@pytest.mark.parametrize("other", [NO_SUCH_NAME, Reply(rcode="SERVFAIL"), Reply(is_silent=True)])
def test_a_web_with_some_dead_names_is_well(other: Reply) -> None:
    server = check(names(8, other))
    assert {name for name, _, _ in server.log} > set(HOSTS)


def test_dead_names_alone_are_well_as_long_as_one_lives() -> None:
    check(names(1, NO_SUCH_NAME))


@pytest.mark.parametrize(
    "given, told",
    [
        (names(7, Reply(rcode="SERVFAIL")), r"3 of 10 names had no answer .*SERVFAIL"),
        (names(7, Reply(is_silent=True)), r"3 of 10 names had no answer .*timeout"),
        ({"*": Reply(rcode="REFUSED")}, r"10 of 10 names had no answer .*REFUSED"),
        ({"*": Reply(is_silent=True)}, r"10 of 10 names had no answer"),
        ({"*": GOOD}, r"does not exist, is said to be at 192\.0\.2\.1"),
        ({}, r"not one of 10 names exists"),
    ],
)
def test_what_is_broken_is_told_with_advice(given: Mapping[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        check(given)
    for word in ("unbound", "download.dns_servers", "download.check_dns=false"):
        assert word in str(error.value)


def test_nobody_at_the_address() -> None:
    with DnsServer({}) as gone:
        address = gone.address
    with pytest.raises(InputError, match="10 of 10 names had no answer"):
        check_names(NameServers((address,), 0.2), HOSTS)


def test_too_slow() -> None:
    with pytest.raises(InputError, match=r"10 of 10 names had no answer after 0\.2 s \(too slow\)"):
        check({"*": Reply(rcode="NXDOMAIN", delay_s=1.5)}, time_s=0.2, timeout_s=5)


def test_nothing_to_ask_for_is_well() -> None:
    with DnsServer({"*": Reply(is_silent=True)}) as server:
        check_names(NameServers((server.address,)), [])
    assert not server.log


def test_names_of_urls() -> None:
    urls = [
        "http://a.test/1", "https://a.test:8443/2", "http://127.0.0.1/x", "http://0x7f.1/x",
        "http://[::1]/x", "nonsense", "ftp://b.test/", "https://B.test/x", "https://c.test/x",
    ]  # fmt: skip
    assert host_names(urls) == ["a.test", "b.test", "c.test"]
    assert host_names(urls, 2) == ["a.test", "b.test"]
