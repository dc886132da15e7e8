"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_POLL_S = 0.5
_LINE_EVERY_S = 10.0


@contextmanager
def watch(
    spark: SparkSession,
    label: str,
    total: int | None = None,
    count: Callable[[], int] | None = None,
) -> Iterator[None]:
    """Show progress of the Spark work inside the block.

    With `count` and `total`, of committed parts; otherwise of the tasks of the active Spark stages.
    """
    stop = threading.Event()
    read = count or (lambda: 0)
    thread = threading.Thread(
        target=_show, args=(spark, label, total, read if count else None, stop), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _show(
    spark: SparkSession,
    label: str,
    total: int | None,
    count: Callable[[], int] | None,
    stop: threading.Event,
) -> None:
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description:28}"),
            BarColumn(),
            TextColumn("{task.fields[at]}"),
        )
        with Progress(
            *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
        ) as bar:
            task = bar.add_task(label, total=total, at="")
            while not stop.wait(_POLL_S):
                done, of = _state(spark, total, count)
                bar.update(task, completed=done, total=of or None, at=f"{done}/{of}" if of else "")
    else:
        started = time.monotonic()
        while not stop.wait(_LINE_EVERY_S):
            done, of = _state(spark, total, count)
            seconds = time.monotonic() - started
            print(f"{label}: {done} of {of} after {seconds:.0f} s", file=sys.stderr, flush=True)


def _state(
    spark: SparkSession, total: int | None, count: Callable[[], int] | None
) -> tuple[int, int]:
    try:
        if count is not None:
            return count(), total or 0
        tracker = spark.sparkContext.statusTracker()
        infos = [tracker.getStageInfo(s) for s in tracker.getActiveStageIds()]
        running = [i for i in infos if i is not None]
        return sum(i.numCompletedTasks for i in running), sum(i.numTasks for i in running)
    except Exception:  # noqa: BLE001 - the session may stop under our hands; progress is no reason to fail
        return 0, total or 0
