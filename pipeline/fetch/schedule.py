"""Which URL is asked for next: hosts take turns, each at its own pace; none holds up another."""

import asyncio
import heapq
import itertools
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.core.reasons import Status
from pipeline.fetch.adopt import Place
from pipeline.fetch.fetched import Fetched
from pipeline.fetch.gate import Gate, GivenUp
from pipeline.fetch.known_hosts import Origin
from pipeline.fetch.ledger import UNKNOWN, Known
from pipeline.fetch.limits import Gates, Lease


@dataclass(eq=False)
class Job:
    """One candidate to download. part: whatever it belongs to. url, origin: where it is asked for
    next, `hops` redirects from the candidate's own. known: of earlier downloads. left_s: seconds
    that its attempts may take from now on; ends_at: when that is, of `time.monotonic`, from its
    first attempt on; last: what that gave. place: where an adopted folder has it."""

    image_id: bytes
    url: str
    origin: Origin
    part: Any = None
    hops: int = 0
    known: Known = UNKNOWN
    attempts: int = 0
    left_s: float = float("inf")
    ends_at: float = float("inf")
    last: Fetched | None = None
    place: Place | None = None


class Rules(Protocol):
    """What is known of sites by now."""

    def knows(self, origin: Origin) -> bool:
        """True when the rules of an origin are known, or that they cannot be had."""

    def verdict(self, url: str, origin: Origin) -> Fetched | None:
        """What a URL ends in without being asked for; None when it may be asked for."""


@dataclass(eq=False)
class _Site:
    """One origin. is_probed: its first job is finding out the rules. is_listed: it is in the ring
    or parked at a gate. open: jobs not finished."""

    origin: Origin
    gate: Gate
    address: Gate | None = None
    queue: deque[Job] = field(default_factory=deque)
    is_probed: bool = False
    is_listed: bool = False
    woken_by: Gate | None = None
    open: int = 0


Item = tuple[Job, Lease | None, Fetched | None]


class Schedule:
    """Hands out jobs, each with places at its host and address, or with what it ends in unasked.

    A site is in one of three places: in the ring (may have a turn now), parked at a gate (that of
    its host or of its address, which is full, asleep or with another task), or nowhere (nothing
    queued, or its rules are being asked for). A gate that opens lets one site into the ring. So the
    next job is found in constant time, however many hosts there are.
    """

    def __init__(self, gates: Gates, rules: Rules) -> None:
        self._gates = gates
        self._rules = rules
        self._sites: dict[Origin, _Site] = {}
        self._at: dict[Gate, dict[_Site, None]] = defaultdict(dict)
        self._parked: dict[Gate, deque[_Site]] = {}
        self._ring: deque[_Site] = deque()
        self._timers: list[tuple[float, int, Gate]] = []
        self._timed: set[Gate] = set()
        self._delayed: list[tuple[float, int, Job]] = []
        self._ended: deque[tuple[Job, GivenUp]] = deque()
        self._count = itertools.count()
        self._changed = asyncio.Event()
        self.open = 0
        gates.on_change = self._gate_changed
        gates.on_address = self._reached

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        for job in jobs:
            self.open += 1
            self._admit(job)
        self._changed.set()

    def move(self, job: Job, url: str, origin: Origin) -> None:
        """Queue a job that was handed out at the host that it was redirected to: it must not keep
        a place while it waits for that one."""
        self._dismiss(job)
        job.url, job.origin = url, origin
        job.left_s, job.ends_at = job.ends_at - time.monotonic(), float("inf")
        self._admit(job)
        self._changed.set()

    def _admit(self, job: Job) -> None:
        site = self._sites.get(job.origin)
        if site is None:
            site = _Site(job.origin, self._gates.host(job.origin[1]))
            self._sites[job.origin] = site
            self._at[site.gate][site] = None
        site.open += 1
        self._enqueue(site, job)

    def finish(self, job: Job) -> None:
        """One job has its row."""
        self.open -= 1
        self._dismiss(job)
        self._changed.set()

    def _dismiss(self, job: Job) -> None:
        site = self._sites[job.origin]
        site.open -= 1
        self._is_back(site)
        if not site.open:
            del self._sites[job.origin]
            for gate in (site.gate, site.address):
                if gate is not None:
                    self._at[gate].pop(site, None)
                    self._rest(gate)

    def retry(self, job: Job, delay_s: float) -> None:
        """Hand the job out again, not before `delay_s` from now."""
        heapq.heappush(self._delayed, (time.monotonic() + delay_s, next(self._count), job))
        self._is_back(self._sites[job.origin])
        self._changed.set()

    def learnt(self, origin: Origin) -> None:
        """The rules of an origin are known now."""
        site = self._sites.get(origin)
        if site is not None:
            self._is_back(site)

    def _is_back(self, site: _Site) -> None:
        """The job that was to find out the rules has done so, or has ended without."""
        site.is_probed = False
        self._list(site)

    def give_up(self, part: Any, why: str) -> None:
        """End all jobs of a part that wait."""
        ending = (Status.HOST_GIVEN_UP, why)
        for site in self._sites.values():
            mine = [job for job in site.queue if job.part is part]
            if mine:
                site.queue = deque(job for job in site.queue if job.part is not part)
                self._ended.extend((job, ending) for job in mine)
        late = [job for _, _, job in self._delayed if job.part is part]
        self._delayed = [entry for entry in self._delayed if entry[2].part is not part]
        heapq.heapify(self._delayed)
        self._ended.extend((job, ending) for job in late)
        self._changed.set()

    def needs(self, gate: Gate) -> bool:
        """True when there is something to ask for at a gate."""
        is_address = gate.key.startswith("addr:")
        return bool(gate.pending) or any(
            site.queue and (site.gate.is_ours or not is_address) for site in self._at.get(gate, ())
        )

    def take(self) -> Item | None:
        """The next job that can be handed out now."""
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            job = heapq.heappop(self._delayed)[2]
            self._enqueue(self._sites[job.origin], job)
        while self._timers and self._timers[0][0] <= now:
            gate = heapq.heappop(self._timers)[2]
            self._timed.discard(gate)
            self._wake(gate)
        while self._ring and not self._ended:
            site = self._ring.popleft()
            site.is_listed = False
            woken_by, site.woken_by = site.woken_by, None
            taken = self._visit(site, now)
            if woken_by is not None:
                self._wake(woken_by)
            if taken is not None:
                return taken
        if self._ended:
            job, why = self._ended.popleft()
            return job, None, self._outcome(job, why)
        return None

    async def wait(self) -> None:
        """Sleep until something changes or the next gate or retry is due."""
        due = [heap[0][0] for heap in (self._timers, self._delayed) if heap]
        wait = min(due) - time.monotonic() if due else None
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def notify(self) -> None:
        """Let `wait` return."""
        self._changed.set()

    def _enqueue(self, site: _Site, job: Job) -> None:
        site.queue.append(job)
        self._list(site)

    def _list(self, site: _Site) -> None:
        if not site.is_listed and not site.is_probed and site.queue:
            site.is_listed = True
            self._ring.append(site)
            self._changed.set()

    def _visit(self, site: _Site, now: float) -> Item | None:
        """Take a job of a site, or put the site where it must wait."""
        queue, gate, address = site.queue, site.gate, site.address
        if not queue:
            return None
        ended = self._unasked(queue[0], now)
        if ended is not None:
            job = queue.popleft()
            self._list(site)
            return job, None, ended
        knows = self._rules.knows(site.origin)
        if site.is_probed and not knows:
            return None
        if not gate.is_open(now):
            self._park(site, gate)
            return None
        if address is not None and not address.is_open(now):
            self._park(site, address)
            return None
        job = queue.popleft()
        self._gates.take(gate, now)
        if address is not None:
            self._gates.take(address, now)
        site.is_probed = not knows
        self._list(site)
        return job, Lease(self._gates, gate, address), None

    def _unasked(self, job: Job, now: float) -> Fetched | None:
        """What a job ends in whatever its turn; None when it is to be asked for."""
        if job.last is not None and now >= job.ends_at:
            return job.last
        why = self._sites[job.origin].gate.given_up
        if why is not None:
            return self._outcome(job, why)
        return self._rules.verdict(job.url, job.origin)

    def _outcome(self, job: Job, why: GivenUp) -> Fetched:
        """What a job ends in that is not asked for any more: what its site's rules say, or what it
        gave when it was asked for, or that it was given up."""
        ended = self._rules.verdict(job.url, job.origin)
        return ended or job.last or Fetched(*why)

    def _park(self, site: _Site, gate: Gate) -> None:
        site.is_listed = True
        parked = self._parked.get(gate)
        if parked is None:
            parked = self._parked[gate] = deque()
        parked.append(site)
        self._gates.want(gate)
        self._time(gate)

    def _time(self, gate: Gate) -> None:
        """See to it that a gate is looked at when its next turn is."""
        if gate.is_ours and gate.has_place and gate not in self._timed:
            self._timed.add(gate)
            heapq.heappush(self._timers, (gate.next_at, next(self._count), gate))
            self._changed.set()

    def _wake(self, gate: Gate) -> None:
        """Let one site that is parked at a gate into the ring, if there is a turn for it."""
        parked = self._parked.get(gate)
        if not parked:
            self._parked.pop(gate, None)
        elif gate.is_given_up or gate.is_open(time.monotonic()):
            site = parked.popleft()
            site.woken_by = gate
            self._ring.append(site)
            self._changed.set()
        else:
            self._time(gate)

    def _gate_changed(self, gate: Gate) -> None:
        if gate.given_up is not None:
            # At once, wherever its sites are.
            why = gate.given_up
            for site in self._at.get(gate, ()):
                jobs, site.queue = site.queue, deque()
                self._ended.extend((job, why) for job in jobs)
            self._changed.set()
        elif gate.is_ours:
            # A site that waits for its address may have lost that one while its host was away.
            for site in self._at.get(gate, ()):
                if site.gate is gate and site.address is not None and site.queue:
                    self._gates.want(site.address)
        self._wake(gate)
        self._rest(gate)

    def _reached(self, host: str, address: Gate) -> None:
        """A host is reached by an address: its next requests take their turns there as well."""
        for site in self._at.get(self._gates.host(host), ()):
            if site.address is not address:
                if site.address is not None:
                    self._at[site.address].pop(site, None)
                site.address = address
                self._at[address][site] = None

    def _rest(self, gate: Gate) -> None:
        if not self._at.get(gate):
            self._at.pop(gate, None)
            self._parked.pop(gate, None)
            if not gate.mine:
                self._gates.rest(gate)
