"""What robots.txt files said, for as long as it holds: in one task, from the tasks beside it, and
from the `hosts` table."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.fetch import hosts_table
from pipeline.fetch.recent import Recent
from pipeline.fetch.robots import Rules, parse

Origin = tuple[str, str, int]
# The fields of a KnownSite as they cross between tasks.
Answer = list[Any]

DAY_S = 86_400
# For how long a robots.txt that cannot be had forbids everything: an hour, then twice as long each
# time. Source: RFC 9309 section 2.3.1.4 names no time below 30 days.
_FAILURE_S = 3600
# What is known of sites in one task, and of that the part that is ready to be matched, which takes
# up to thirty times its size.
_KNOWN_BYTES = 64 * 2**20
_PARSED_BYTES = 4 * 2**20
_OVERHEAD_BYTES = 500
# What tells of our network as much as of the site is not kept: it costs the site nothing to ask.
_NOT_KEPT = frozenset(
    {Status.DNS, Status.DNS_UNAVAILABLE, Status.TLS, Status.PRIVATE_ADDRESS, Status.BAD_URL}
)
# What is told to other tasks, of the columns of `hosts`.
_ANSWER = ("robots", "failure", "detail", "failures", "fetched_at", "expires_at")


@dataclass(frozen=True)
class KnownSite:
    """What is known of a site. Times are Unix seconds."""

    robots: str | None
    failure: tuple[Status, str] | None
    failures: int
    fetched_at: int
    expires_at: int

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return _OVERHEAD_BYTES + len(self.robots or "")


class Sharing(Protocol):
    """How a task shares what it finds out with the tasks beside it."""

    async def site(self, origin: Origin) -> Answer | None:
        """What another task found out about a site, once it has; None: this task is to ask."""

    def learnt(self, origin: Origin, answer: Answer | None) -> None:
        """Tell what this task found out where it was to ask; None: nothing."""


class KnownHosts:
    """What is known of sites, for one product token; as long as it is fresh.

    store: where the table is; None: nothing is kept. max_age_s: how long rules hold. clock: gives
    Unix time. Memory: some 100 MB, however many sites there are, and what was learnt since
    `publish`; of what is forgotten the table is asked again, if it is there, else the site.
    """

    def __init__(
        self,
        store: Store | None,
        agent: str,
        max_age_s: float = DAY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._agent = agent
        self._max_age_s = max_age_s
        self._clock = clock
        self._known: Recent[Origin, KnownSite] = Recent(_KNOWN_BYTES)
        self._parsed: Recent[str, Rules] = Recent(_PARSED_BYTES)
        self._read: set[str] = set()
        self._learnt: dict[Origin, KnownSite] = {}
        # Set by whoever works beside other tasks.
        self.sharing: Sharing | None = None

    def load(self, hosts: Iterable[str]) -> None:
        """Read what the table knows of some hosts, those that were read before left aside."""
        wanted = set(hosts) - self._read
        self._read |= wanted
        if self._store is None or not wanted:
            return
        for row in hosts_table.rows_of(self._store, wanted):
            origin = row["scheme"], row["host"], row["port"]
            if row["agent"] == self._agent and self._latest(origin) is None:
                self._remember(origin, _known(row))

    def has_read(self, host: str) -> bool:
        """True when nothing more about a host can come from the table."""
        return self._store is None or host in self._read

    def get(self, origin: Origin) -> KnownSite | None:
        """What is known of a site and still holds."""
        known = self._latest(origin)
        return known if known is not None and self._clock() < known.expires_at else None

    def rules(self, known: KnownSite) -> Rules:
        """The rules that a site stated, or that there are none to be had."""
        if known.failure is not None:
            return Rules(failure=known.failure)
        # Many sites say the same.
        text = known.robots or ""
        rules = self._parsed.get(text)
        if rules is None:
            body = text.encode()
            rules = parse(body, "*", len(body))
            self._parsed.put(text, rules, _OVERHEAD_BYTES + len(text))
        return rules

    def _latest(self, origin: Origin) -> KnownSite | None:
        return self._learnt.get(origin) or self._known.get(origin)

    def _remember(self, origin: Origin, known: KnownSite) -> None:
        for _, host, _ in self._known.put(origin, known, known.bytes):
            self._read.discard(host)

    async def from_others(self, origin: Origin) -> KnownSite | None:
        """What another task finds out about a site; None: this one is to ask, and to `learn` what
        it says or else to `forgo`."""
        answer = await self.sharing.site(origin) if self.sharing is not None else None
        if answer is None:
            return None
        known = _known(dict(zip(_ANSWER, answer, strict=True)))
        self._remember(origin, known)
        return known

    def forgo(self, origin: Origin) -> None:
        """Nothing was found out about a site: another task may ask."""
        if self.sharing is not None:
            self.sharing.learnt(origin, None)

    def learn(self, origin: Origin, rules: Rules, wait_s: float = 0.0) -> KnownSite:
        """Note what a site said just now. wait_s: how long it asks to be left alone."""
        now = int(self._clock())
        failures = 0
        if rules.failure is None:
            expires_at = now + min(DAY_S, self._max_age_s)
        else:
            before = self._latest(origin)
            failures = 1 + (before.failures if before is not None else 0)
            expires_at = now + min(DAY_S, max(wait_s, _FAILURE_S * 2 ** min(failures - 1, 5)))
        text = rules.text() if rules.failure is None else None
        known = KnownSite(text, rules.failure, failures, now, int(expires_at))
        self._remember(origin, known)
        if rules.failure is None or rules.failure[0] not in _NOT_KEPT:
            self._learnt[origin] = known
        if self.sharing is not None:
            row = _row(origin, self._agent, known)
            self.sharing.learnt(origin, [row[name] for name in _ANSWER])
        return known

    def publish(self) -> int:
        """Keep what was learnt since the last time for other tasks and runs; how many rows."""
        learnt, self._learnt = self._learnt, {}
        if self._store is None or not learnt:
            return 0
        rows = [_row(origin, self._agent, known) for origin, known in list(learnt.items())]
        hosts_table.publish(self._store, rows)
        return len(rows)


def _row(origin: Origin, agent: str, known: KnownSite) -> dict[str, Any]:
    scheme, host, port = origin
    failure, detail = known.failure or (None, None)
    return {
        "scheme": scheme,
        "host": host,
        "port": port,
        "agent": agent,
        "robots": known.robots,
        "failure": failure,
        "detail": detail,
        "failures": known.failures,
        "fetched_at": known.fetched_at,
        "expires_at": known.expires_at,
    }


def _known(row: Mapping[str, Any]) -> KnownSite:
    failure = (Status(row["failure"]), row["detail"] or "") if row["failure"] else None
    return KnownSite(row["robots"], failure, row["failures"], row["fetched_at"], row["expires_at"])
