"""Asking name servers for the addresses of a host.

Messages, chains of CNAME, TTLs (of SOA for what is not there) and the way over TCP are dnspython's.
Its own resolver has no bound on the queries one server is sent at a time, and forgets at once which
server failed, so the choice of server is made here.
Neither /etc/hosts nor search domains are looked at: names of the web are absolute.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from pipeline.core.errors import EnvironmentProblem
from pipeline.fetch.settings import DNS_PORT, parse_server

# Fits one packet on every path. Source: DNS flag day 2020.
_UDP_BYTES = 1232
# How long to wait for the other family once one is there. Source: RFC 8305, section 3.
_OTHER_FAMILY_S = 0.05
# A server that fails so often in a row is asked only when all others do.
_FAILURES = 5
_REST_S = 30.0
# Source: RFC 2308, section 7: a failure of the server is kept for 5 minutes at most.
_FAILED_TTL_S = 30.0
_SILENCE = "timeout"
_NOT_FOUND = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})


class Outcome(StrEnum):
    """What asking for a name gave."""

    FOUND = "found"
    MISSING = "missing"  # the name, or an address of it, does not exist: final
    FAILED = "failed"  # nobody would say: another try may do better


@dataclass(frozen=True, slots=True)
class Answer:
    """addresses: IPv4 before IPv6, empty unless FOUND. detail: for a person. ttl_s: seconds that
    the answer may be used for, as the zone says."""

    outcome: Outcome
    addresses: tuple[str, ...] = ()
    detail: str = ""
    ttl_s: float = _FAILED_TTL_S


@dataclass(eq=False)
class _Server:
    address: str
    port: int
    places: asyncio.Semaphore
    at_work: int = 0
    failures: int = 0
    rests_until: float = 0.0

    def succeed(self) -> None:
        self.failures, self.rests_until = 0, 0.0

    def fail(self) -> None:
        self.failures += 1
        if self.failures >= _FAILURES:
            self.rests_until = time.monotonic() + _REST_S


@dataclass
class NameServers:
    """Asks the servers of one event loop.

    servers: "address", "address:port" or "[address]:port"; none: those of /etc/resolv.conf.
    timeout_s: for one query to one server. attempts: queries in all, each to the server that has
    failed least and is least busy. concurrency: queries one server is sent at a time.
    """

    servers: Sequence[str] = ()
    timeout_s: float = 3.0
    attempts: int = 3
    concurrency: int = 64
    with_ipv6: bool = True
    _servers: list[_Server] = field(init=False)

    def __post_init__(self) -> None:
        self._servers = [
            _Server(*parse_server(text), asyncio.Semaphore(self.concurrency))
            for text in self.servers or system_servers()
        ]
        self._backend = dns.asyncbackend.get_backend("asyncio")

    async def ask(self, host: str) -> Answer:
        """The addresses of a name in lower case, without a dot at its end. Never raises."""
        if host == "localhost" or host.endswith(".localhost"):
            # Source: RFC 6761, section 6.3.
            return Answer(Outcome.FOUND, ("127.0.0.1",))
        try:
            name = dns.name.from_text(host)
        except (dns.exception.DNSException, UnicodeError) as error:
            return Answer(Outcome.MISSING, detail=f"not a name: {error}", ttl_s=_FAILED_TTL_S)
        v4 = asyncio.ensure_future(self._ask(name, dns.rdatatype.A))
        if not self.with_ipv6:
            return await v4
        v6 = asyncio.ensure_future(self._ask(name, dns.rdatatype.AAAA))
        try:
            first = await v4
            wait = _OTHER_FAMILY_S if first.outcome is Outcome.FOUND else None
            await asyncio.wait((v6,), timeout=wait)
            return _joined(first, v6.result()) if v6.done() else first
        finally:
            for task in (v4, v6):
                task.cancel()

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Answer:
        """One question, put to one server after the other until one of them knows."""
        failures: list[str] = []
        tried: list[_Server] = []
        for _ in range(self.attempts):
            server = self._next(tried)
            if server is None:
                break
            tried.append(server)
            answer = await self._once(server, name, kind)
            if answer.outcome is not Outcome.FAILED:
                return answer
            failures.append(f"{server.address}: {answer.detail}")
            # A word against the name is the same a moment later; silence may not be.
            if answer.detail != _SILENCE and all(known in tried for known in self._servers):
                break
        return Answer(Outcome.FAILED, detail="; ".join(failures))

    def _next(self, tried: Sequence[_Server]) -> _Server | None:
        """The best server: one that was not tried yet, that works, and has the least to do."""
        now = time.monotonic()
        return min(
            self._servers,
            key=lambda s: (tried.count(s), s.rests_until > now, s.at_work),
            default=None,
        )

    async def _once(
        self, server: _Server, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> Answer:
        query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_BYTES)
        server.at_work += 1
        try:
            async with server.places:
                response, _ = await dns.asyncquery.udp_with_fallback(
                    query,
                    server.address,
                    timeout=self.timeout_s,
                    port=server.port,
                    # What another host sends, or what answers another question, is no answer.
                    ignore_unexpected=True,
                    ignore_errors=True,
                    backend=self._backend,
                )
            answer = _read(response)
        except dns.exception.Timeout:
            server.fail()
            return Answer(Outcome.FAILED, detail=_SILENCE)
        except (OSError, EOFError) as error:
            server.fail()
            return Answer(Outcome.FAILED, detail=f"{type(error).__name__}: {error}")
        except dns.exception.DNSException as error:
            return Answer(Outcome.FAILED, detail=f"{type(error).__name__}: {error}")
        finally:
            server.at_work -= 1
        if response.rcode() == dns.rcode.REFUSED:
            server.fail()
        else:
            server.succeed()
        return answer


def _read(response: dns.message.Message) -> Answer:
    """What a response says. Raises DNSException when it contradicts itself."""
    code = response.rcode()
    if code not in _NOT_FOUND:
        return Answer(Outcome.FAILED, detail=dns.rcode.to_text(code))
    if not isinstance(response, dns.message.QueryMessage):
        return Answer(Outcome.FAILED, detail="not an answer to a query")
    chain = response.resolve_chaining()
    if chain.answer is not None:
        addresses = tuple(dict.fromkeys(str(data.address) for data in chain.answer))
        return Answer(Outcome.FOUND, addresses, ttl_s=chain.minimum_ttl)
    detail = "NXDOMAIN" if code == dns.rcode.NXDOMAIN else "no address"
    return Answer(Outcome.MISSING, detail=detail, ttl_s=chain.minimum_ttl)


def _joined(v4: Answer, v6: Answer) -> Answer:
    """Both families as one answer: found comes before NXDOMAIN, that before failed or missing."""
    found = [a for a in (v4, v6) if a.outcome is Outcome.FOUND]
    if found:
        addresses = tuple(text for answer in found for text in answer.addresses)
        return Answer(Outcome.FOUND, addresses, ttl_s=min(a.ttl_s for a in found))
    for answer in (v4, v6):
        # A name that does not exist has no address of the other family either.
        if answer.detail == "NXDOMAIN":
            return answer
    for answer in (v4, v6):
        if answer.outcome is Outcome.FAILED:
            return answer
    return v4 if v4.ttl_s < v6.ttl_s else v6


@cache
def system_servers() -> tuple[str, ...]:
    """The servers that /etc/resolv.conf names. Raises EnvironmentProblem when it names none."""
    try:
        servers = dns.resolver.Resolver(configure=True).nameservers
    except dns.exception.DNSException as error:
        raise EnvironmentProblem(_no_servers(str(error))) from None
    found = []
    for server in servers:
        with contextlib.suppress(ValueError):
            found.append(f"[{parse_server(str(server).partition('%')[0])[0]}]")
    if not found:
        raise EnvironmentProblem(_no_servers("no nameserver line"))
    return tuple(found)


def _no_servers(why: str) -> str:
    return f"no name server: /etc/resolv.conf: {why}; set download.dns_servers"


def has_ipv6() -> bool:
    """True when this machine has a route to IPv6. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket only looks the route up. Any global address will do.
        probe.connect(("2000::1", DNS_PORT))
        return True
    return False
