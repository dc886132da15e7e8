"""The resolver: what is kept, for how long, and what a picture's row says when a name fails."""

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import Status
from pipeline.fakeweb.dnsd import NO_SUCH_NAME, DnsServer, Reply
from pipeline.fetch.guard import Guard
from pipeline.fetch.nameservers import Answer, NameServers, Outcome
from pipeline.fetch.resolver import (
    AnswerCache,
    NameServerError,
    NoSuchNameError,
    Resolver,
    shared_cache,
)
from tests.fetch.server import WebServer
from tests.fetch.test_part import download, serving, settings

FOUND, MISSING, FAILED = Outcome.FOUND, Outcome.MISSING, Outcome.FAILED


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "answer, kept_s",
    [
        (Answer(FOUND, ("192.0.2.1",), ttl_s=300), 300),
        (Answer(FOUND, ("192.0.2.1",), ttl_s=0), 60),
        (Answer(FOUND, ("192.0.2.1",), ttl_s=86400), 3600),
        (Answer(MISSING, detail="NXDOMAIN", ttl_s=900), 900),
        (Answer(MISSING, detail="NXDOMAIN", ttl_s=86400), 3600),
        (Answer(FAILED, detail="SERVFAIL", ttl_s=86400), 30),
    ],
)
def test_kept_for_as_long_as_the_zone_says_within_bounds(answer: Answer, kept_s: float) -> None:
    clock = Clock()
    cache = AnswerCache(10, 60, 3600, clock)
    cache.put("a.test", answer)
    clock.now += kept_s - 0.5
    assert cache.get("a.test") == answer
    clock.now += 1
    assert cache.get("a.test") is None and len(cache) == 0


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=60),
)
def test_bounded_and_the_least_used_go_first(size: int, steps: list[tuple[bool, str]]) -> None:
    cache = AnswerCache(size, clock=Clock())
    model: OrderedDict[str, Answer] = OrderedDict()
    for number, (is_put, name) in enumerate(steps):
        if is_put:
            model[name] = Answer(FOUND, (f"192.0.2.{number}",))
            cache.put(name, model[name])
            model.move_to_end(name)
            while len(model) > size:
                model.popitem(last=False)
        else:
            assert cache.get(name) == model.get(name)
            if name in model:
                model.move_to_end(name)
        assert len(cache) == len(model)


def resolver(server: DnsServer, **options: Any) -> Resolver:
    servers = NameServers((server.address,), timeout_s=0.2, with_ipv6=False)
    return Resolver(Guard.of(("192.0.2.0/24",)), servers, **options)


def test_a_name_is_asked_for_once_however_many_want_it() -> None:
    with DnsServer({"a.test": Reply(("192.0.2.1",), delay_s=0.05)}) as server:

        async def work() -> None:
            names = resolver(server)
            found = await asyncio.gather(*(names.resolve("A.test.", 80) for _ in range(50)))
            assert {f[0]["host"] for f in found} == {"192.0.2.1"}
            await names.resolve("a.test", 443)

        asyncio.run(work())
    assert server.asked("a.test") == 1


def test_one_that_gives_up_does_not_spoil_it_for_the_others() -> None:
    with DnsServer({"a.test": Reply(("192.0.2.1",), delay_s=0.1)}) as server:

        async def work() -> None:
            names = resolver(server)
            first = asyncio.ensure_future(names.resolve("a.test"))
            second = asyncio.ensure_future(names.resolve("a.test"))
            await asyncio.sleep(0.02)
            first.cancel()
            assert (await second)[0]["host"] == "192.0.2.1"

        asyncio.run(work())
    assert server.asked("a.test") == 1


def test_what_fails_or_is_missing_is_kept_too() -> None:
    with DnsServer({"bad.test": Reply(rcode="SERVFAIL"), "none.test": NO_SUCH_NAME}) as server:

        async def work() -> None:
            names = resolver(server)
            for _ in range(3):
                with pytest.raises(NameServerError, match="SERVFAIL"):
                    await names.resolve("bad.test")
                with pytest.raises(NoSuchNameError, match="NXDOMAIN"):
                    await names.resolve("none.test")

        asyncio.run(work())
    assert server.asked("bad.test") == server.asked("none.test") == 1


def test_an_answer_is_asked_for_again_when_its_time_is_over() -> None:
    clock = Clock()
    moves = [Reply(("192.0.2.1",), 100), Reply(("192.0.2.2",), 100)]
    with DnsServer({"a.test": moves}) as server:

        async def work() -> list[str]:
            names = resolver(server, cache=AnswerCache(clock=clock))
            found = []
            for _ in range(3):
                found.append((await names.resolve("a.test"))[0]["host"])
                clock.now += 60
            return found

        assert asyncio.run(work()) == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]


NAMES = {
    "good.test": Reply(("127.0.0.1",)),
    "none.test": NO_SUCH_NAME,
    "empty.test": Reply(),
    "bad.test": Reply(rcode="SERVFAIL"),
    "silent.test": Reply(is_silent=True),
    "private.test": Reply(("10.0.0.1", "127.0.0.2")),
    "some.test": Reply(("10.0.0.1", "127.0.0.1")),
}


def test_statuses_of_pictures_and_one_cache_for_all_parts(tmp_path: Path) -> None:
    with WebServer({"/x.jpg": serving()}) as web, DnsServer(NAMES) as names:
        config = settings(
            tmp_path,
            web,
            hosts_file=None,
            dns_servers=(names.address,),
            dns_timeout_s=0.2,
            dns_attempts=2,
            ipv6="off",
        )
        urls = [f"http://{name}/x.jpg" for name in NAMES]
        for _ in range(2):
            rows, _, _ = download(config, *urls)
            found = {url.split("/")[2]: row["status"] for url, row in rows.items()}
            assert found == {
                "good.test": "ok",
                "none.test": "dns",
                "empty.test": "dns",
                "bad.test": "dns_unavailable",
                "silent.test": "dns_unavailable",
                "private.test": "private_address",
                "some.test": "ok",
            }
            details = {url.split("/")[2]: row["status_detail"] for url, row in rows.items()}
            assert "NXDOMAIN" in details["none.test"] and "no address" in details["empty.test"]
            assert "SERVFAIL" in details["bad.test"] and "timeout" in details["silent.test"]
        # The second part asks for nothing: the process knows.
        assert {name: names.asked(name) for name in NAMES} == {
            name: 2 if name == "silent.test" else 1 for name in NAMES
        }
    assert Status.DNS_UNAVAILABLE.is_transient and not Status.DNS.is_transient


def test_parts_of_other_servers_have_another_cache() -> None:
    same = shared_cache(("192.0.2.1",), True, 10, 1.0, 2.0)
    assert shared_cache(("192.0.2.1",), True, 10, 1.0, 2.0) is same
    assert shared_cache(("192.0.2.2",), True, 10, 1.0, 2.0) is not same


def test_a_deadline_holds_while_names_are_slow(tmp_path: Path) -> None:
    with WebServer({}) as web, DnsServer({"*": Reply(is_silent=True)}) as names:
        config = settings(
            tmp_path,
            web,
            hosts_file=None,
            dns_servers=(names.address,),
            dns_timeout_s=600,
            timeout_s=0.3,
            retries=0,
        )
        rows, _, _ = download(config, *(f"http://h{n}.test/x.jpg" for n in range(20)))
    # Had the name servers been waited for, the status would be theirs.
    assert {r["status"] for r in rows.values()} == {"robots_unavailable"}
    assert {r["status_detail"] for r in rows.values()} == {"robots.txt: deadline"}
