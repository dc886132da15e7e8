"""Progress of long work: a bar on a terminal, a line now and then in a log.

One thread on the driver looks at the work again and again: what it finds is shown, and the same
thread notes failed tasks and executors that come and go.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_POLL_S = 1.0
# Looking takes no more than this share of the time: a listing of 100,000 parts is not free.
_LOOKING = 0.05
# A line in a log at first and at the latest, and else after a tenth of the time so far.
_FIRST_LINE_S, _LAST_LINE_S, _LINE_SHARE = 10.0, 300.0, 0.1


TASKS = "tasks"


@dataclass(frozen=True)
class Reading:
    """How far work is. total: 0 when it is not known. before: of `done`, what was there at the
    start. detail: what else is worth telling, as a success rate."""

    done: int
    total: int
    unit: str = TASKS
    before: int = 0
    detail: str = ""


def told(reading: Reading, seconds: float) -> str:
    """A reading in words: done of all, rate, time left, detail."""
    if not reading.total:
        return reading.detail or "starting"
    parts = [f"{reading.done:,} of {reading.total:,} {reading.unit}"]
    here = reading.done - reading.before
    if here > 0 and seconds > 0:
        rate = here / seconds
        parts.append(f"{rate:,.1f} a second" if rate >= 1 else f"{rate * 60:,.1f} a minute")
        # Of a query nobody knows how many tasks are still to come.
        if reading.done < reading.total and reading.unit != TASKS:
            parts.append(f"{duration((reading.total - reading.done) / rate)} left")
    return ", ".join([*parts, reading.detail] if reading.detail else parts)


def duration(seconds: float) -> str:
    """About how long, in days, hours and minutes."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if n)


@contextmanager
def watch(
    spark: "SparkSession", label: str, read: Callable[[], Reading] | None = None
) -> Iterator[None]:
    """Show progress of the Spark work inside the block, as `read` finds it; without it, by the
    tasks of the active Spark stages. `read` is called once more at the end."""
    stop, started = threading.Event(), time.monotonic()
    # What the log knows of the stage goes into the thread.
    work = partial(copy_context().run, _follow, spark, label, read, stop)
    thread = threading.Thread(target=work, name="progress", daemon=True)
    thread.start()
    try:
        yield
        if read is None:
            seconds = round(time.monotonic() - started, 1)
            structlog.get_logger().info("step_done", label=label, seconds=seconds)
    finally:
        stop.set()
        thread.join()


def _follow(
    spark: "SparkSession", label: str, read: Callable[[], Reading] | None, stop: threading.Event
) -> None:
    tasks = _Tasks(spark, label)
    with _shown(label) as show:
        wait_s = _POLL_S
        while True:
            is_last = stop.wait(wait_s)
            looked = time.monotonic()
            reading = tasks.read()
            if read is not None:
                with suppress(Exception):  # storage that is away for a moment is no reason to fail
                    reading = read()
            if is_last:
                return
            show(reading)
            wait_s = max(_POLL_S, (time.monotonic() - looked) / _LOOKING)


@contextmanager
def _shown(label: str) -> Iterator[Callable[[Reading], None]]:
    """How a reading is shown: as a bar on a terminal, else as a line when it is time for one."""
    started = time.monotonic()
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    columns = (TextColumn("{task.description:28}"), BarColumn(), TextColumn("{task.fields[at]}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=None, at="") if is_terminal else TaskID(0)
    due_s = _FIRST_LINE_S

    def show(reading: Reading) -> None:
        nonlocal due_s
        seconds = time.monotonic() - started
        if is_terminal:
            at = told(reading, seconds)
            bar.update(task, completed=reading.done, total=reading.total or None, at=at)
        elif seconds >= due_s:
            due_s = seconds + min(max(_FIRST_LINE_S, seconds * _LINE_SHARE), _LAST_LINE_S)
            line = f"{label}: {told(reading, seconds)}, {seconds:.0f} s so far"
            print(line, file=sys.stderr, flush=True)

    with bar if is_terminal else nullcontext():
        yield show


class _Tasks:
    """The tasks of all Spark stages so far; tells of failed ones and of executors."""

    def __init__(self, spark: "SparkSession", label: str) -> None:
        self._spark, self._label = spark, label
        self._seen: dict[int, tuple[int, int]] = {}  # stage -> tasks that are done, tasks
        self._failed: dict[int, int] = {}
        self._executors = -1

    def read(self) -> Reading:
        try:
            context: Any = self._spark.sparkContext
            tracker = context.statusTracker()
            infos = [tracker.getStageInfo(s) for s in tracker.getActiveStageIds()]
            running = [i for i in infos if i is not None]
            self._tell({i.stageId: i.numFailedTasks for i in running})
            self._tell_executors(len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1)
            # What is not active any more has ended.
            self._seen = {stage: (total, total) for stage, (_, total) in self._seen.items()}
            self._seen |= {i.stageId: (i.numCompletedTasks, i.numTasks) for i in running}
            done = sum(done for done, _ in self._seen.values())
            total = sum(total for _, total in self._seen.values())
            return Reading(done, total)
        except Exception:  # noqa: BLE001 - the session may stop under our hands; that is no failure
            return Reading(0, 0)

    def _tell(self, failed: dict[int, int]) -> None:
        new = sum(max(0, n - self._failed.get(stage, 0)) for stage, n in failed.items())
        self._failed |= failed
        if new:
            structlog.get_logger().warning("tasks_failed", label=self._label, tasks=new)

    def _tell_executors(self, now: int) -> None:
        before, self._executors = self._executors, now
        if before not in (-1, now):
            structlog.get_logger().warning("executors", before=before, now=now)
