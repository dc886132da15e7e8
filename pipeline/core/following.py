"""Following a stage from the driver: its events, its figures for Prometheus, and its alarm."""

import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from pipeline.core.accounts import Account, merge
from pipeline.core.alarm import Alarm
from pipeline.core.errors import PairmillError
from pipeline.core.metrics import Metrics
from pipeline.core.progress import Reading
from pipeline.core.stage import StageSection
from pipeline.core.storage import PartWork, Store
from pipeline.core.tables import Table
from pipeline.core.usual import KEPT, Ring, Rule, Stretch, judge_whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Events about parts that one attempt at a stage writes, at most.
_EVENTS = 1000
# Footers that are read before what they tell is shown.
_FOOTERS = 500
_PARTS_NAMED = 5

Earlier = Mapping[str, Sequence[Stretch]]


@dataclass(frozen=True)
class Live:
    """What comes of a stage before its parts are committed. grown: rows of the unit by "kept" or
    reason, since it was last called."""

    unit: str
    grown: Callable[[], Mapping[str, int]]


class Bell:
    """Tells people and the log what rings, and ends the stage where its section says so.

    earlier: unit -> what the stage had in earlier runs.
    """

    def __init__(
        self,
        stage: str,
        spark: "SparkSession | None",
        section: StageSection,
        metrics: Metrics,
        earlier: Earlier,
    ) -> None:
        self.stage, self.metrics, self.earlier = stage, metrics, earlier
        self.rule: Rule = section.rule(stage)
        self.is_on = section.alarm != "off"
        self.spark, self._stops = spark, section.alarm == "stop"
        self._stopped_by: Ring | None = None
        self.has_parts = False  # whose rows are judged as they come

    def ring(self, rings: Sequence[Ring]) -> None:
        """Tell of each; with `alarm = "stop"`, cancel the work of Spark."""
        for ring in rings if self.is_on else ():
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ring.since))
            told = {k: v for k, v in asdict(ring).items() if k not in ("most", "since")}
            # JSON knows no infinity: a range without an end has none.
            numbers = {k: told[k] for k in ("value", "low", "high")}
            told |= {k: round(n, 4) if math.isfinite(n) else None for k, n in numbers.items()}
            told |= {"since": since, "runbook": ring.runbook, "text": ring.text}
            action = "stop" if self._stops else "warn"
            structlog.get_logger().warning("alarm", action=action, **told)
            self.metrics.add("alarms", 1, stage=self.stage)
            if not self._stops:
                print(f"{self.stage}: warning: {ring.text}", file=sys.stderr, flush=True)
            elif self._stopped_by is None:
                self._stopped_by = ring
                with suppress(Exception):
                    if self.spark is not None:
                        self.spark.sparkContext.cancelAllJobs()

    def check(self, cause: BaseException | None = None) -> None:
        """Raise PairmillError when an alarm has ended the stage."""
        if self._stopped_by is not None:
            raise PairmillError(
                f'{self.stage}: stopped by {self.stage}.alarm = "stop": {self._stopped_by.text}; '
                "the same command again goes on where it stopped, and "
                f"{self.stage}.alarm_usual states another range"
            ) from cause

    def judge(self, accounts: Sequence[Account], seconds: float) -> None:
        """Hold a stage that has ended against earlier runs, and one that is a query against its
        configured ranges. Raises PairmillError as `check`."""
        now = time.time()
        rule = replace(self.rule, ranges={}) if self.has_parts else self.rule
        for account in accounts:
            whole = Stretch(counts_of(account), now - seconds, now)
            earlier = self.earlier.get(account.unit, ())
            self.ring(judge_whole(rule, account.unit, whole, earlier, account is accounts[0]))
        self.check()


@dataclass
class _Done:
    """Parts that were committed and of which no event has told yet."""

    parts: list[int] = field(default_factory=list)
    works: list[PartWork] = field(default_factory=list)

    def tell(self, label: str, of: int) -> None:
        if self.parts:
            structlog.get_logger().info(
                "parts_done",
                label=label,
                parts=len(self.parts),
                first=self.parts[:_PARTS_NAMED],
                of=of,
                accounts=[a.to_json() for a in merge(a for w in self.works for a in w.accounts)],
                bytes=sum(work.bytes for work in self.works),
                seconds=round(sum(work.seconds for work in self.works), 1),
                slowest_s=round(max(work.seconds for work in self.works), 1),
            )
        self.parts, self.works = [], []


class Follower:
    """What tasks have done so far, each time it is asked. Memory: a number for each part.

    todo: the parts of the stage; none where parts are replaced, and only what is live is looked at.
    in_flight: parts that are worked on at once: when no more are left, the rate falls.
    """

    def __init__(
        self,
        store: Store,
        table: Table,
        label: str,
        todo: Sequence[int],
        bell: Bell,
        live: Live | None = None,
        in_flight: int = 1,
    ) -> None:
        self._store, self._table, self._label = store, table, label
        self._todo, self._bell, self._live = set(todo), bell, live
        self._in_flight = in_flight
        self._known = store.committed(table).keys() & self._todo
        # Of an earlier attempt: they count, but are no news.
        self._older = deque(sorted(self._known))
        self._before = len(self._known)
        self._accounts: list[Account] = []
        self._bytes, self._begun_at = 0, time.time()
        self._alarms: dict[str, Alarm] = {}
        self._ended = Counter[str]()
        self._done = _Done()

    def read(self, now: float | None = None) -> Reading:
        """Look at what is there now, in Unix seconds. Without parts, of what is live alone."""
        now = time.time() if now is None else now
        new = self._take_new()
        counts = {account.unit: counts_of(account) for account in merge(new)}
        if self._live is not None:
            live = Counter(self._live.grown())
            self._ended.update(live)
            counts = {self._live.unit: live}
        is_ending = len(self._todo) - len(self._known) <= self._in_flight
        self._judge(now, counts, is_ending)
        self._take_older()
        self._show(now)
        return Reading(len(self._known), len(self._todo), "parts", self._before, self._detail())

    def finish(self) -> None:
        """Tell of the parts that were not told of, once all work has ended."""
        while self._take_new():
            pass
        self._done.tell(self._label, len(self._todo))
        self._show(time.time(), at_once=True)

    def _take_new(self) -> list[Account]:
        """Accounts of parts that were committed since."""
        if not self._todo:
            return []
        fresh = sorted((self._store.committed(self._table).keys() & self._todo) - self._known)
        found: list[Account] = []
        for part in fresh[:_FOOTERS]:
            work = self._store.part_work(self._table, part)
            self._known.add(part)
            found += work.accounts
            self._count(work)
            self._done.parts.append(part)
            self._done.works.append(work)
            if len(self._done.parts) > len(self._todo) // _EVENTS:
                self._done.tell(self._label, len(self._todo))
        return found

    def _take_older(self) -> None:
        for _ in range(min(_FOOTERS, len(self._older))):
            self._count(self._store.part_work(self._table, self._older.popleft()))

    def _count(self, work: PartWork) -> None:
        self._accounts = merge([*self._accounts, *work.accounts])
        self._bytes += work.bytes

    def _judge(self, now: float, counts: Mapping[str, Counter[str]], is_ending: bool) -> None:
        for unit in counts:
            if unit not in self._alarms:
                # Where parts are replaced nobody knows how many are left, nor when it ends.
                has_rate = not self._alarms and bool(self._todo)
                earlier = self._bell.earlier.get(unit, ())
                alarm = Alarm(self._bell.rule, unit, self._begun_at, earlier, has_rate)
                self._alarms[unit] = alarm
        for unit, alarm in self._alarms.items():
            self._bell.ring(alarm.add(now, counts.get(unit, {}), is_ending))
            for figure in alarm.over():
                structlog.get_logger().info("alarm_over", unit=unit, figure=figure)

    def _show(self, now: float, at_once: bool = False) -> None:
        metrics, stage = self._bell.metrics, self._bell.stage
        metrics.account(stage, self._accounts)
        unit = self._live.unit if self._live is not None else ""
        for outcome, rows in self._ended.items():
            metrics.set("rows_ended", rows, stage=stage, unit=unit, outcome=outcome)
        metrics.set("written_bytes", self._bytes, stage=stage)
        metrics.set("parts", len(self._todo), stage=stage)
        metrics.set("parts_done", len(self._known), stage=stage)
        metrics.set("stage_seconds", now - self._begun_at, stage=stage)
        metrics.publish(self._bell.spark, at_once)

    def _detail(self) -> str:
        """The success rate where it is known before parts are committed."""
        if not (rows := self._ended.total()) or self._live is None:
            return ""
        return f"{self._ended[KEPT] / rows:.0%} of {rows:,} {self._live.unit} kept"


def counts_of(account: Account) -> Counter[str]:
    """Rows by "kept" or reason."""
    return Counter({KEPT: account.kept, **account.dropped})
