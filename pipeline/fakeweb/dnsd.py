"""A name server on loopback that says what it is told to: names that move, lie, fail or wait."""

import asyncio
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_TCP_PREFIX_BYTES = 2  # Source: RFC 1035, section 4.2.2


@dataclass(frozen=True)
class Reply:
    """What a question is answered by.

    addresses: of both families; only those of the family asked for are given. cname: a name that
    the asked one is another name for, which then has the addresses. negative_ttl_s: of the SOA of
    an answer without addresses; null: no SOA. is_truncated: over UDP nothing but a word to use TCP.
    raw: sent in place of a message. delay_s: before the answer. is_silent: no answer at all.
    """

    addresses: tuple[str, ...] = ()
    ttl_s: int = 300
    cname: str | None = None
    rcode: str = "NOERROR"
    negative_ttl_s: int | None = 300
    is_truncated: bool = False
    raw: bytes | None = None
    delay_s: float = 0.0
    is_silent: bool = False


NO_SUCH_NAME = Reply(rcode="NXDOMAIN")


@dataclass
class DnsServer:
    """Answers on a free UDP and TCP port of 127.0.0.1 while it is used as a context manager.

    names: in lower case, "*" for every other one (NXDOMAIN without it). A sequence of replies is
    given one after the other to the same question, the last one from then on.
    log: (name, type, "udp" or "tcp") of each question. most_at_work: questions waiting at a time.
    """

    names: Mapping[str, Reply | Sequence[Reply]]
    log: list[tuple[str, str, str]] = field(default_factory=list)
    most_at_work: int = 0
    port: int = 0
    _at_work: int = 0
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def address(self) -> str:
        """As `download.dns_servers` takes it."""
        return f"127.0.0.1:{self.port}"

    def asked(self, name: str, kind: str = "A") -> int:
        """How often a question was put."""
        return sum(1 for n, k, _ in self.log if (n, k) == (name, kind))

    def __enter__(self) -> "DnsServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._tcp = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(self), ("127.0.0.1", self.port), family=socket.AF_INET
        )

    async def _stop(self) -> None:
        self._tcp.close()
        self._udp.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer one datagram, in a task of its own."""

        async def work() -> None:
            answer = await self._answer(data, "udp")
            if answer is not None:
                self._udp.sendto(answer, peer)

        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                size = int.from_bytes(await reader.readexactly(_TCP_PREFIX_BYTES))
                answer = await self._answer(await reader.readexactly(size), "tcp")
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(_TCP_PREFIX_BYTES) + answer)
                await writer.drain()
        writer.close()

    async def _answer(self, data: bytes, transport: str) -> bytes | None:
        """The wire form of the answer, or None for silence."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.log.append((name, kind, transport))
        reply = self._reply(name, kind)
        self._at_work += 1
        self.most_at_work = max(self.most_at_work, self._at_work)
        try:
            await asyncio.sleep(reply.delay_s)
        finally:
            self._at_work -= 1
        if reply.is_silent:
            return None
        if reply.raw is not None:
            return reply.raw
        message = _message(query, reply, transport)
        return message.to_wire(max_size=65535 if transport == "tcp" else 0)

    def _reply(self, name: str, kind: str) -> Reply:
        replies = self.names.get(name) or self.names.get("*") or NO_SUCH_NAME
        if isinstance(replies, Reply):
            return replies
        turn = self._asked[name, kind]
        self._asked[name, kind] += 1
        return replies[min(turn, len(replies) - 1)]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.take(data, addr)


def _message(query: dns.message.Message, reply: Reply, transport: str) -> dns.message.Message:
    message = dns.message.make_response(query)
    message.flags |= dns.flags.RA
    message.set_rcode(dns.rcode.from_text(reply.rcode))
    if reply.is_truncated and transport == "udp":
        message.flags |= dns.flags.TC
        return message
    owner, kind = query.question[0].name, query.question[0].rdtype
    if reply.cname:
        alias = dns.rrset.from_text(owner, reply.ttl_s, "IN", "CNAME", f"{reply.cname}.")
        message.answer.append(alias)
        owner = alias[0].target
    version = 6 if kind == dns.rdatatype.AAAA else 4
    texts = [a for a in reply.addresses if ipaddress.ip_address(a).version == version]
    if texts and kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        message.answer.append(dns.rrset.from_text(owner, reply.ttl_s, "IN", kind, *texts))
    elif reply.negative_ttl_s is not None:
        soa = f"ns.test. root.test. 1 3600 600 86400 {reply.negative_ttl_s}"
        message.authority.append(dns.rrset.from_text(".", 86400, "IN", "SOA", soa))
    return message
