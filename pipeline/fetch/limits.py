"""Politeness and bounds: deadlines, turns per host, pauses, backoff, breaker, memory for bodies."""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b

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


def backoff_s(base_s: float, attempt: int, key: str) -> float:
    """Delay before attempt 1, 2, ...: doubles each time, spread over 50% to 150% by the key.

    The spread comes from a hash, so a rerun waits the same, while different URLs do not meet.
    """
    digest = blake2b(f"{attempt} {key}".encode(), digest_size=8).digest()
    spread = 0.5 + int.from_bytes(digest, "big") / 2**64
    return base_s * float(2 ** (attempt - 1)) * spread


class Deadline:
    """Time that one picture may take on the network; waits for one's turn do not count."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self.spent = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the time run inside the block. Raises TimeoutError when it is used up."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                yield
        finally:
            took = time.monotonic() - started
            self._left -= took
            self.spent += took


@dataclass
class Gate:
    """The turns of one host. Times are of `time.monotonic`.

    limit: requests under way at once. interval_s: least time between two starts. next_at: when the
    next may start. failures: in a row; `is_given_up` once they reach the breaker's limit.
    """

    host: str
    limit: int
    interval_s: float
    breaker: int
    active: int = 0
    next_at: float = 0.0
    failures: int = 0
    given_up_because: str | None = None
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def is_given_up(self) -> bool:
        return self.given_up_because is not None

    def start(self, now: float) -> None:
        """Take note that a request starts."""
        self.next_at = max(now, self.next_at) + self.interval_s

    def slow_down(self, delay_s: float) -> None:
        """Honour a Crawl-delay: one request at a time, that far apart."""
        if delay_s > self.interval_s:
            self.interval_s = delay_s
            self.limit = 1
            self.next_at = max(self.next_at, time.monotonic() + delay_s)

    def pause(self, seconds: float) -> None:
        """Start nothing for some time."""
        self.next_at = max(self.next_at, time.monotonic() + seconds)

    def fail(self, why: str) -> None:
        """Count a failure of the host; the breaker opens when too many come in a row."""
        self.failures += 1
        if self.failures >= self.breaker:
            self.give_up(f"{self.failures} failures in a row, the last: {why}")

    def succeed(self) -> None:
        """The host answered: the row of failures ends."""
        self.failures = 0

    def give_up(self, why: str) -> None:
        """Ask this host for nothing more."""
        if self.given_up_because is None:
            self.given_up_because = why


class Lease:
    """One place at one host's gate at a time; moves along with redirects."""

    def __init__(self, gates: "Gates", gate: Gate) -> None:
        self._gates = gates
        self.gate = gate
        self._held = True
        # The turn that came with the place has been counted already, at this pace.
        self._turn_is_free = True
        self._interval_s = gate.interval_s

    async def turn(self) -> None:
        """Wait until the next request to this host may start."""
        was_free, self._turn_is_free = self._turn_is_free, False
        if was_free and self._interval_s == self.gate.interval_s:
            return
        wait = self.gate.next_at - time.monotonic()
        self.gate.start(time.monotonic())
        if wait > 0:
            await asyncio.sleep(wait)

    async def move(self, host: str) -> None:
        """Give the place up for one at another host; waits until there is one."""
        if host != self.gate.host:
            self.release()
            self.gate = await self._gates.enter(host)
            self._held = True
            self._turn_is_free = False

    def release(self) -> None:
        if self._held:
            self._held = False
            self._gates.leave(self.gate)


class Gates:
    """The gates of all hosts of a part.

    shares: registrable domains that several parts hold -> how many of them may run at once; each
    then uses that fraction of the domain's rate.
    """

    def __init__(self, settings: DownloadSection) -> None:
        self._settings = settings
        self._gates: dict[str, Gate] = {}
        self.on_leave: Callable[[str], None] = lambda host: None

    def of(self, host: str, share: int = 1) -> Gate:
        """The gate of a host; `share` counts when it is first asked for."""
        gate = self._gates.get(host)
        if gate is None:
            gate = self._gates[host] = Gate(
                host,
                max(1, self._settings.host_concurrency // share),
                self._settings.host_interval_s * share,
                self._settings.host_failures,
            )
        return gate

    async def enter(self, host: str) -> Gate:
        """Take a place at a host's gate, waiting for one in order of arrival."""
        gate = self.of(host)
        while gate.active >= gate.limit:
            waiter = asyncio.get_running_loop().create_future()
            gate.waiters.append(waiter)
            await waiter
        gate.active += 1
        return gate

    def leave(self, gate: Gate) -> None:
        gate.active -= 1
        while gate.waiters:
            waiter = gate.waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                break
        self.on_leave(gate.host)


class BodyMemory:
    """Bounds the memory of large bodies under way: each reserves all it may need at once, so that
    none ever waits while it holds a part of what another one needs."""

    def __init__(self, total_bytes: int) -> None:
        self._free = self._total = total_bytes
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def reserve(self, wanted_bytes: int) -> int:
        """Wait for room; what was reserved, to be given back. More than there is takes it all."""
        wanted = min(wanted_bytes, self._total)
        if self._waiters or wanted > self._free:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((wanted, waiter))
            await waiter
        else:
            self._free -= wanted
        return wanted

    def release(self, reserved_bytes: int) -> None:
        """Give room back and let those in who fit now, in order of arrival."""
        self._free += reserved_bytes
        while self._waiters and (self._waiters[0][1].done() or self._waiters[0][0] <= self._free):
            wanted, waiter = self._waiters.pop(0)
            if not waiter.done():
                self._free -= wanted
                waiter.set_result(None)
