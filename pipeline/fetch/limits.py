"""Politeness: who may start a request at which host and address; deadlines of one URL."""

import asyncio
import email.utils
import ipaddress
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol

from pipeline.fetch.errors import FetchError
from pipeline.fetch.gate import Gate, State
from pipeline.fetch.settings import DownloadSection


def retry_after_s(value: str | None, now_unix_s: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for; None when absent or not understood.

    Source: RFC 9110 section 10.2.3: whole seconds or an HTTP date.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        when = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now_unix_s is None else now_unix_s))


class Deadline:
    """Time that one picture may take on the network; waits for one's turn do not count."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.spent = 0.0

    def running(self) -> "_Running":
        """`async with`: let the time run. Raises TimeoutError when it is used up."""
        return _Running(self)


class _Running:
    """A stretch of a deadline. A class, as a generator would take twice as long, some times for
    each picture."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    async def __aenter__(self) -> None:
        self._started = time.monotonic()
        self._timeout = asyncio.timeout(self._deadline.left)
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took = time.monotonic() - self._started
        self._deadline.left -= took
        self._deadline.spent += took
        await self._timeout.__aexit__(kind, error, trace)


class Link(Protocol):
    """How a task shares gates with other tasks."""

    def want(self, gate: Gate) -> None:
        """Ask for a gate; `Gates.granted` follows."""

    def give_back(self, gate: Gate) -> None:
        """Let others have a gate, or wait for it no longer."""

    def happened(self, gate: Gate, event: str, value: Any) -> None:
        """Tell what happened at a gate: who holds it must know, or who will."""


class Gates:
    """The gates of all hosts and addresses that one event loop meets.

    link: to the tasks it shares them with; None: it is alone. on_change: called with a gate that
    may have opened, or been given up.
    """

    def __init__(self, settings: DownloadSection, link: Link | None = None) -> None:
        self._settings = settings
        self._link = link
        self._gates: dict[str, Gate] = {}
        self._wanted: set[str] = set()
        self.on_change: Callable[[Gate], None] = lambda gate: None
        self.on_address: Callable[[str, Gate], None] = lambda host, gate: None

    def host(self, name: str) -> Gate:
        """The gate of a host."""
        return self.of(f"host:{name}")

    def address(self, address: str) -> Gate:
        """The gate of an address: all of a /64 is one, as one customer has it.

        Source: RFC 6177, end sites are given a /64 at least.
        """
        return self.of(_address_key(address))

    def of(self, key: str) -> Gate:
        """The gate with a key, made when it is first asked for."""
        gate = self._gates.get(key)
        if gate is None:
            config = self._settings
            is_host = key.startswith("host:")
            gate = self._gates[key] = Gate(
                key,
                config.host_concurrency if is_host else config.address_concurrency,
                config.host_interval_s if is_host else config.address_interval_s,
                config.host_failures if is_host else 0,
                config.backoff_s,
                config.max_backoff_s,
                is_ours=self._link is None,
                relay=self._happened,
            )
        return gate

    def known(self, key: str) -> Gate | None:
        """The gate with a key, if there is one."""
        return self._gates.get(key)

    def forget(self, key: str) -> None:
        """Drop a gate."""
        self._gates.pop(key, None)

    def rest(self, gate: Gate) -> None:
        """Nobody here uses the gate any more: leave it to the other tasks."""
        if self._link is not None and not gate.mine and not gate.pending:
            self._gates.pop(gate.key, None)
            self._wanted.discard(gate.key)
            self._link.give_back(gate)

    def _happened(self, gate: Gate, event: str, value: Any) -> None:
        if self._link is not None:
            self._link.happened(gate, event, value)
        if gate.is_ours or event == "give_up":
            gate.apply(event, value)
        self.changed(gate)

    def changed(self, gate: Gate) -> None:
        """Let those look again who wait at a gate."""
        waiters, gate.waiters = gate.waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.on_change(gate)

    def want(self, gate: Gate) -> None:
        """Ask for a gate that another task holds; once, until it is here."""
        if self._link is not None and not gate.is_ours and gate.key not in self._wanted:
            self._wanted.add(gate.key)
            self._link.want(gate)

    def granted(self, gate: Gate, state: State | None) -> None:
        """The gate is ours from now on; state: as its last holder left it, None: nobody had it."""
        self._wanted.discard(gate.key)
        gate.is_ours = True
        if state is not None:
            gate.restore(state)
        self.changed(gate)

    def take(self, gate: Gate, now: float) -> None:
        """Take a place and a turn at an open gate."""
        gate.active += 1
        gate.mine += 1
        gate.start(now)

    def leave(self, gate: Gate) -> None:
        """Give a place back."""
        gate.mine -= 1
        self._happened(gate, "left", None)

    async def turn(self, gate: Gate, *, with_place: bool = False) -> None:
        """Wait until a request may start, and start it; `with_place`: takes a place as well.

        Raises FetchError when the host is given up.
        """
        gate.pending += 1
        try:
            while True:
                if gate.given_up is not None:
                    raise FetchError(*gate.given_up)
                now = time.monotonic()
                if not gate.is_ours or (with_place and not gate.has_place):
                    self.want(gate)
                    waiter = asyncio.get_running_loop().create_future()
                    gate.waiters.append(waiter)
                    await waiter
                elif gate.next_at > now:
                    await asyncio.sleep(gate.next_at - now)
                else:
                    break
            if with_place:
                self.take(gate, now)
            else:
                gate.start(now)
        finally:
            gate.pending -= 1


@lru_cache(maxsize=4096)
def _address_key(address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return f"addr:{mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64))}"
    return f"addr:{parsed}"


class Lease:
    """One place at one host's gate at a time, and at the gate of the address it is reached by;
    moves along with redirects."""

    def __init__(self, gates: Gates, gate: Gate, address: Gate | None = None) -> None:
        self._gates = gates
        self.gate = gate
        self._address = address
        self._is_held = True
        # The turns that came with the places have been counted already, at this pace.
        self._fresh: set[Gate] = {gate} if address is None else {gate, address}
        self._interval_s = gate.interval_s

    async def turn(self) -> None:
        """Wait until the next request to this host may start.

        Raises FetchError when the host is given up.
        """
        is_fresh = self.gate in self._fresh and self._interval_s == self.gate.interval_s
        self._fresh.discard(self.gate)
        if not is_fresh:
            await self._gates.turn(self.gate)

    async def reach(self, address: str) -> None:
        """Take a place and a turn at the address that is about to be connected to."""
        gate = self._gates.address(address)
        if gate is self._address:
            is_fresh = gate in self._fresh
            self._fresh.discard(gate)
            if not is_fresh:
                await self._gates.turn(gate)
            return
        self._leave_address()
        await self._gates.turn(gate, with_place=True)
        self._address = gate
        self._gates.on_address(self.gate.host, gate)

    async def move(self, host: str) -> None:
        """Give the places up for one at another host; waits until there is one.

        Raises FetchError when that host is given up.
        """
        if host != self.gate.host:
            self.release()
            self.gate = self._gates.host(host)
            await self._gates.turn(self.gate, with_place=True)
            self._is_held = True
            self._fresh = {self.gate}
            self._interval_s = self.gate.interval_s

    def _leave_address(self) -> None:
        if self._address is not None:
            self._gates.leave(self._address)
            self._address = None

    def release(self) -> None:
        """Give the places back."""
        self._leave_address()
        if self._is_held:
            self._is_held = False
            self._gates.leave(self.gate)
