"""Asking name servers: what they say, when they fail, and how much they are asked at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import EnvironmentProblem
from pipeline.fakeweb.dnsd import DnsServer, Reply
from pipeline.fetch import nameservers
from pipeline.fetch.nameservers import Answer, NameServers, Outcome
from pipeline.fetch.settings import DownloadSection, parse_server

FAILED, FOUND, MISSING = Outcome.FAILED, Outcome.FOUND, Outcome.MISSING


def ask(names: Mapping[str, Any], host: str, **options: Any) -> tuple[Answer, DnsServer]:
    with DnsServer(names) as server:
        servers = NameServers((server.address,), **{"timeout_s": 0.2, **options})
        return asyncio.run(servers.ask(host)), server


def ask_several(replies: Sequence[Reply], hosts: Sequence[str], **options: Any) -> Any:
    """The answers, and what each of the servers was asked."""
    with ExitStack() as stack:
        servers = [stack.enter_context(DnsServer({"*": reply})) for reply in replies]
        asked = NameServers(
            [s.address for s in servers], **{"timeout_s": 0.2, "with_ipv6": False, **options}
        )

        async def work() -> list[Answer]:
            return [await asked.ask(host) for host in hosts]

        return asyncio.run(work()), servers


def test_both_families_and_the_shorter_time() -> None:
    answer, server = ask({"a.test": Reply(("192.0.2.1", "2001:db8::1", "192.0.2.2"), 77)}, "a.test")
    assert (answer.outcome, answer.ttl_s, answer.addresses[2]) == (FOUND, 77, "2001:db8::1")
    assert set(answer.addresses[:2]) == {"192.0.2.1", "192.0.2.2"}
    assert sorted(kind for _, kind, _ in server.log) == ["A", "AAAA"]


def test_one_family_is_enough() -> None:
    only_4, _ = ask({"a.test": Reply(("192.0.2.1",))}, "a.test")
    only_6, _ = ask({"a.test": Reply(("2001:db8::1",))}, "a.test")
    assert (only_4.addresses, only_6.addresses) == (("192.0.2.1",), ("2001:db8::1",))
    none, server = ask({"a.test": Reply(("192.0.2.1",))}, "a.test", with_ipv6=False)
    assert none.addresses == ("192.0.2.1",) and server.asked("a.test", "AAAA") == 0


def test_other_name_and_its_own_time() -> None:
    names = {"a.test": Reply(("192.0.2.1",), 50, cname="b.test")}
    answer, _ = ask(names, "a.test")
    assert answer == Answer(FOUND, ("192.0.2.1",), ttl_s=50)


def test_cut_answers_come_over_tcp() -> None:
    many = tuple(f"192.0.2.{n}" for n in range(200))
    answer, server = ask({"a.test": Reply(many, is_truncated=True)}, "a.test", with_ipv6=False)
    assert set(answer.addresses) == set(many)
    assert [transport for _, _, transport in server.log] == ["udp", "tcp"]


def test_what_does_not_exist_is_final_and_lasts_as_the_zone_says() -> None:
    answer, server = ask({"a.test": Reply(rcode="NXDOMAIN", negative_ttl_s=900)}, "a.test")
    assert answer == Answer(MISSING, detail="NXDOMAIN", ttl_s=900)
    assert server.asked("a.test") == 1
    empty, _ = ask({"a.test": Reply(negative_ttl_s=90)}, "a.test")
    assert empty == Answer(MISSING, detail="no address", ttl_s=90)
    for wrong in ("a..test", "x" * 64 + ".test", ".".join(["abcdefghi"] * 30)):
        assert ask({}, wrong)[0].outcome is MISSING


@pytest.mark.parametrize(
    "reply, detail",
    [
        (Reply(rcode="SERVFAIL"), "SERVFAIL"),
        (Reply(rcode="REFUSED"), "REFUSED"),
        (Reply(is_silent=True), "timeout"),
        (Reply(("192.0.2.1",), delay_s=5), "timeout"),
        (Reply(raw=b"\x00\x01 not DNS"), "timeout"),
        (Reply(raw=b""), "timeout"),
    ],
)
def test_what_nobody_says_is_a_failure(reply: Reply, detail: str) -> None:
    answer, _ = ask({"a.test": reply}, "a.test")
    assert answer.outcome is FAILED and detail in answer.detail


def test_nobody_there() -> None:
    with DnsServer({}) as server:
        gone = server.address
    answer = asyncio.run(NameServers((gone,), timeout_s=0.2).ask("a.test"))
    assert answer.outcome is FAILED and answer.detail


def test_a_forged_answer_is_not_taken() -> None:
    """Another transaction's id, or an answer to another question."""
    import dns.flags
    import dns.message
    import dns.rrset

    forged = dns.message.make_response(dns.message.make_query("a.test", "A", id=7))
    forged.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "A", "192.0.2.66"))
    answer, _ = ask({"a.test": Reply(raw=forged.to_wire())}, "a.test")
    assert answer.outcome is FAILED and not answer.addresses


@pytest.mark.parametrize("bad", ["SERVFAIL", "REFUSED", "silent"])
def test_another_server_is_asked(bad: str) -> None:
    first = Reply(is_silent=True) if bad == "silent" else Reply(rcode=bad)
    (answer,), servers = ask_several([first, Reply(("192.0.2.1",))], ["a.test"])
    assert answer.addresses == ("192.0.2.1",)
    assert [s.asked("a.test") for s in servers] == [1, 1]


def test_a_server_that_keeps_failing_is_left_alone() -> None:
    hosts = [f"h{n}.test" for n in range(12)]
    answers, (broken, good) = ask_several([Reply(rcode="REFUSED"), Reply(("192.0.2.1",))], hosts)
    assert all(a.outcome is FOUND for a in answers)
    assert len(broken.log) == 5 and len(good.log) == len(hosts)
    # A zone that is broken is not the server's fault.
    answers, (sick, good) = ask_several([Reply(rcode="SERVFAIL"), Reply(("192.0.2.1",))], hosts)
    assert len(sick.log) == len(hosts)


@pytest.mark.parametrize("limit", [1, 5])
def test_no_server_gets_more_questions_than_its_limit(limit: int) -> None:
    with DnsServer({"*": Reply(("192.0.2.1",), delay_s=0.02)}) as server:
        servers = NameServers((server.address,), concurrency=limit, with_ipv6=False)

        async def work() -> list[Answer]:
            return await asyncio.gather(*(servers.ask(f"h{n}.test") for n in range(20)))

        answers = asyncio.run(work())
    assert all(a.outcome is FOUND for a in answers)
    assert server.most_at_work == limit


def test_load_goes_to_all_servers() -> None:
    with (
        DnsServer({"*": Reply(("192.0.2.1",), delay_s=0.05)}) as one,
        DnsServer({"*": Reply(("192.0.2.1",), delay_s=0.05)}) as two,
    ):
        servers = NameServers((one.address, two.address), with_ipv6=False)

        async def work() -> None:
            await asyncio.gather(*(servers.ask(f"h{n}.test") for n in range(20)))

        asyncio.run(work())
    assert len(one.log) == len(two.log) == 10


def test_local_names_are_never_asked_for() -> None:
    answer, server = ask({"*": Reply(("192.0.2.1",))}, "x.localhost")
    assert answer.addresses == ("127.0.0.1",) and not server.log


def test_servers_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    conf = tmp_path / "resolv.conf"
    real = dns.resolver.Resolver.read_resolv_conf
    monkeypatch.setattr(
        dns.resolver.Resolver, "read_resolv_conf", lambda self, _: real(self, str(conf))
    )
    conf.write_text("# mine\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n")
    nameservers.system_servers.cache_clear()
    assert [parse_server(s) for s in nameservers.system_servers()] == [
        ("127.0.0.53", 53), ("::1", 53),
    ]  # fmt: skip
    conf.write_text("search example.org\n")
    nameservers.system_servers.cache_clear()
    with pytest.raises(EnvironmentProblem, match=r"download\.dns_servers"):
        nameservers.system_servers()
    nameservers.system_servers.cache_clear()


def test_server_notations() -> None:
    assert parse_server("9.9.9.9") == ("9.9.9.9", 53)
    assert parse_server("127.0.0.1:5353") == ("127.0.0.1", 5353)
    assert parse_server("2620:fe::fe") == ("2620:fe::fe", 53)
    assert parse_server("[::1]:5353") == ("::1", 5353)
    for wrong in ("dns.example", "", "1.2.3.4:0x", "1.2.3.4:99999", "1.2.3.4:0", "::1]:53"):
        with pytest.raises(ValueError):
            DownloadSection(dns_servers=(wrong,))


@given(st.integers(0, 2**32 - 1), st.integers(1, 65535))
def test_every_address_and_port_is_read(address: int, port: int) -> None:
    import ipaddress

    text = str(ipaddress.IPv4Address(address))
    assert parse_server(f"{text}:{port}") == (text, port)
