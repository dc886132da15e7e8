"""The turns of one host or one address: pace, pauses, backoff, breaker."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pipeline.core.reasons import Status


def backoff_s(base_s: float, attempt: int, key: str) -> float:
    """Delay before attempt 1, 2, ...: doubles each time, spread over 50% to 150% by the key.

    The spread comes from a hash, so a rerun waits the same, while different URLs do not meet.
    """
    digest = blake2b(f"{attempt} {key}".encode(), digest_size=8).digest()
    spread = 0.5 + int.from_bytes(digest, "big") / 2**64
    return base_s * float(2 ** (attempt - 1)) * spread


# [limit, interval_s, active, seconds until next_at, failures, refusals, given_up]
State = list[Any]


# The Status of a host's URLs that are not asked for any more, and why.
GivenUp = tuple[Status, str]


@dataclass(eq=False)
class Gate:
    """The turns of one host or one address. Times are of `time.monotonic`.

    key: "host:<name>" or "addr:<network>". limit: requests under way at once. interval_s: least
    time between two starts. breaker: failures in a row that open it, 0: never. failures: those in a
    row by now; refusals: how many of them were such. active: requests under way, those of other
    tasks included. next_at: when the next may start. mine: those of this task; pending: those
    waiting for a turn; started_at: when one last took a turn. is_ours: this task may start requests
    here; otherwise another one holds the gate, and what happens to requests under way is relayed to
    it.
    """

    key: str
    limit: int
    interval_s: float
    breaker: int = 0
    backoff_s: float = 0.0
    max_backoff_s: float = 0.0
    active: int = 0
    next_at: float = 0.0
    failures: int = 0
    refusals: int = 0
    given_up: GivenUp | None = None
    is_ours: bool = True
    mine: int = 0
    pending: int = 0
    started_at: float = 0.0
    relay: "Callable[[Gate, str, Any], None] | None" = None
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def host(self) -> str:
        """The host's name, or the address."""
        return self.key.partition(":")[2]

    @property
    def is_given_up(self) -> bool:
        return self.given_up is not None

    @property
    def has_place(self) -> bool:
        """True when one more request may be under way; a host that fails is asked singly."""
        return self.active < (1 if self.failures else self.limit)

    def is_open(self, now: float) -> bool:
        """True when a request may start now."""
        return self.is_ours and self.has_place and self.next_at <= now

    def start(self, now: float) -> None:
        """A request takes its turn."""
        self.started_at = now
        self.next_at = max(now, self.next_at) + self.interval_s

    def slow_down(self, delay_s: float) -> None:
        """Honour a Crawl-delay: one request at a time, that far apart."""
        if delay_s > self.interval_s:
            self._happened("slow_down", delay_s)

    def pause(self, seconds: float) -> None:
        """Start nothing for some time."""
        self._happened("pause", seconds)

    def fail(self, why: str, *, backs_off: bool = False, refuses: bool = False) -> None:
        """Count a failure of the host, or a refusal; the breaker opens when too many come in a row.

        With `backs_off` nothing starts for a time that doubles with each failure in a row. A host
        that only refuses forbids: its other URLs are not asked for later either.
        """
        self._happened("fail", [why, backs_off, refuses])

    def succeed(self) -> None:
        """The host answered: the row of failures ends."""
        if self.failures or not self.is_ours:
            self._happened("succeed", None)

    def give_up(self, why: str) -> None:
        """Ask this host for nothing more, for now."""
        self._happened("give_up", [Status.HOST_GIVEN_UP, why])

    def _happened(self, event: str, value: Any) -> None:
        if self.relay is not None:
            self.relay(self, event, value)
        else:
            self.apply(event, value)

    def apply(self, event: str, value: Any) -> None:
        """Change as the event has it, wherever it happened."""
        now = time.monotonic()
        if event == "left":
            self.active -= 1
        elif event == "slow_down" and value > self.interval_s:
            self.interval_s, self.limit = value, 1
            self.next_at = max(self.next_at, now + value)
        elif event == "pause":
            self.next_at = max(self.next_at, now + value)
        elif event == "succeed":
            self.failures = self.refusals = 0
        elif event == "give_up":
            self.given_up = self.given_up or (Status(value[0]), value[1])
        elif event == "fail":
            why, backs_off, refuses = value
            self._fail(why, backs_off, refuses, now)

    def _fail(self, why: str, backs_off: bool, refuses: bool, now: float) -> None:
        self.failures += 1
        self.refusals += refuses
        if self.breaker and self.failures >= self.breaker:
            forbids = self.refusals == self.failures
            status = Status.HOST_FORBIDS if forbids else Status.HOST_GIVEN_UP
            kind = "refusals" if forbids else "failures"
            self.apply("give_up", [status, f"{self.failures} {kind} in a row, the last: {why}"])
        elif backs_off:
            wait = backoff_s(self.backoff_s, min(self.failures, 30), self.key)
            self.next_at = max(self.next_at, now + min(wait, self.max_backoff_s))

    def state(self) -> State:
        """What another holder must know, times relative to now."""
        wait = max(0.0, self.next_at - time.monotonic())
        return [
            self.limit,
            self.interval_s,
            self.active,
            wait,
            self.failures,
            self.refusals,
            self.given_up,
        ]

    def restore(self, state: State) -> None:
        """Go on where another holder stopped."""
        self.limit, self.interval_s, self.active, wait, self.failures, self.refusals, why = state
        self.next_at = time.monotonic() + wait
        if why is not None:
            self.apply("give_up", why)
