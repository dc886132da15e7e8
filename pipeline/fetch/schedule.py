"""Which URL is asked for next: hosts take turns, each at its own pace; none holds up another."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.fetch.limits import Gate, Gates, Lease


@dataclass
class Job:
    """One candidate to download. `host` is empty when the URL has none."""

    image_id: bytes
    url: str
    host: str
    share: int = 1
    attempts: int = 0


@dataclass
class _Host:
    gate: Gate
    queue: deque[Job] = field(default_factory=deque)
    # Where the host is: in the ring or asleep (True), or waiting for one of its own to end.
    is_listed: bool = True


class Schedule:
    """Hands out jobs until every one is finished.

    A host is in one of three places: in the ring (may have a turn now), in the heap of sleepers
    (its next turn is later), or nowhere (all its places are taken; it returns when one is left).
    So the next job is found in constant time, however many hosts there are.
    """

    def __init__(self, jobs: Iterable[Job], gates: Gates, max_seconds: float) -> None:
        self._gates = gates
        self._hosts: dict[str, _Host] = {}
        self._ring: deque[str] = deque()
        self._sleepers: list[tuple[float, str]] = []
        self._delayed: list[tuple[float, bytes, Job]] = []
        self._given_up: deque[tuple[Job, str]] = deque()
        self._open = 0
        self._changed = asyncio.Event()
        self._deadline = time.monotonic() + max_seconds
        gates.on_leave = self._wake
        for job in jobs:
            self._open += 1
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        host = self._hosts.get(job.host)
        if host is None:
            host = self._hosts[job.host] = _Host(self._gates.of(job.host, job.share))
            self._ring.append(job.host)
        host.queue.append(job)
        if not host.is_listed:
            host.is_listed = True
            self._ring.append(job.host)

    def _wake(self, name: str) -> None:
        host = self._hosts.get(name)
        if host is not None and host.gate.given_up_because is not None:
            # At once, even when the host is asleep.
            self._give_up(host, host.gate.given_up_because)
        elif host is not None and host.queue and not host.is_listed:
            host.is_listed = True
            self._ring.append(name)
        self._changed.set()

    def finish(self) -> None:
        """One job has its row."""
        self._open -= 1
        self._changed.set()

    def retry(self, job: Job, delay_s: float) -> None:
        """Hand the job out again, not before `delay_s` from now."""
        heapq.heappush(self._delayed, (time.monotonic() + delay_s, job.image_id, job))
        self._changed.set()

    async def next(self) -> tuple[Job, Lease | None, str] | None:
        """The next job with a place at its host; or a job without one and why it is given up;
        None when all jobs are finished."""
        while self._open:
            self._changed.clear()
            now = time.monotonic()
            if now >= self._deadline:
                self._give_up_all("the part took too long")
            while self._delayed and self._delayed[0][0] <= now:
                self._enqueue(heapq.heappop(self._delayed)[2])
            while self._sleepers and self._sleepers[0][0] <= now:
                self._ring.append(heapq.heappop(self._sleepers)[1])
            found = self._take(now)
            if found is not None:
                return found
            await self._wait(now)
        return None

    def _take(self, now: float) -> tuple[Job, Lease | None, str] | None:
        while self._ring and not self._given_up:
            name = self._ring.popleft()
            host = self._hosts[name]
            gate = host.gate
            if gate.given_up_because is not None:
                self._give_up(host, gate.given_up_because)
            if not host.queue or gate.active >= gate.limit:
                host.is_listed = False
            elif gate.next_at > now:
                heapq.heappush(self._sleepers, (gate.next_at, name))
            else:
                job = host.queue.popleft()
                gate.active += 1
                gate.start(now)
                self._ring.append(name)
                return job, Lease(self._gates, gate), ""
        if self._given_up:
            job, why = self._given_up.popleft()
            return job, None, why
        return None

    async def _wait(self, now: float) -> None:
        """Sleep until something changes or the next host or retry is due."""
        due = [self._deadline if self._deadline > now else float("inf")]
        due += [self._sleepers[0][0]] if self._sleepers else []
        due += [self._delayed[0][0]] if self._delayed else []
        try:
            async with asyncio.timeout(None if min(due) == float("inf") else min(due) - now):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _give_up(self, host: _Host, why: str) -> None:
        self._given_up.extend((job, why) for job in host.queue)
        host.queue.clear()

    def _give_up_all(self, why: str) -> None:
        for host in self._hosts.values():
            self._give_up(host, why)
        self._given_up.extend((job, why) for _, _, job in self._delayed)
        self._delayed.clear()
