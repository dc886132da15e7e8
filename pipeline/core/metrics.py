"""What a run has done so far, for Prometheus: in a file, and at Spark's own endpoint.

Where Spark's UI is on, the driver serves `/metrics/prometheus` on its port, and
`/metrics/executors/prometheus` for executors; our figures stand among Spark's as gauges named
`metrics_pairmill_driver_AccumulatorSource_<name>_<labels>_Value`. `run.metrics_file` is for runs
without a UI: a file for node-exporter's textfile collector, with proper labels. docs/runbook.md
lists the names.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.accounts import Account

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Name -> what it is. All are gauges: a stage that goes on starts from what was done before.
HELP = {
    "rows_in": "rows that came into a stage, of parts that are committed",
    "rows_kept": "of these, rows that were kept",
    "rows_dropped": "of these, rows that were dropped, by reason",
    "rows_ended": "rows that are done with in this attempt, by outcome, also of parts that are not "
    "committed yet (download)",
    "written_bytes": "bytes that committed parts take, raw tars and shards included",
    "parts": "parts of a stage",
    "parts_done": "of these, committed ones",
    "stage_running": "1 while a stage runs, 0 after",
    "stage_seconds": "how long a stage has run, or took",
    "alarms": "alarms that rang",
    "updated_seconds": "when these figures were last written, Unix seconds",
}

# Publishing takes some milliseconds, and nobody scrapes more often.
_EVERY_S = 5.0

Key = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    """The figures of one run. Safe to use from several threads.

    path: the file for node-exporter, on this machine; empty for none.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._values: dict[Key, int] = {}
        self._accumulators: dict[Key, Any] = {}
        self._lock = threading.Lock()
        self._published_at = -_EVERY_S

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a figure of `HELP`."""
        assert name in HELP, name
        with self._lock:
            self._values[name, tuple(labels.items())] = int(value)

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add to a figure of `HELP`."""
        with self._lock:
            key = (name, tuple(labels.items()))
            self._values[key] = self._values.get(key, 0) + int(value)

    @contextmanager
    def running(self, stage: str, spark: "SparkSession") -> Iterator[None]:
        """Say that a stage runs while the block does, and how long it took."""
        started = time.monotonic()
        self.set("stage_running", 1, stage=stage)
        self.publish(spark, at_once=True)
        try:
            yield
        finally:
            self.set("stage_running", 0, stage=stage)
            self.set("stage_seconds", time.monotonic() - started, stage=stage)
            self.publish(spark, at_once=True)

    def account(self, stage: str, accounts: Iterable[Account]) -> None:
        """Set what a stage has counted so far."""
        for account in accounts:
            labels = {"stage": stage, "unit": account.unit}
            self.set("rows_in", account.rows_in, **labels)
            self.set("rows_kept", account.kept, **labels)
            for reason, rows in account.dropped.items():
                self.set("rows_dropped", rows, **labels, reason=reason)

    def publish(self, spark: "SparkSession | None" = None, at_once: bool = False) -> None:
        """Show the figures as they are now, unless they were shown a moment ago and it need not be
        `at_once`. Raises nothing: they are no reason to fail."""
        if not at_once and time.monotonic() - self._published_at < _EVERY_S:
            return
        self._published_at = time.monotonic()
        self.set("updated_seconds", time.time())
        with self._lock:
            values = dict(self._values)
            if self._path:
                _write(Path(self._path), render(values))
            if spark is not None:
                self._to_spark(spark, values)

    def _to_spark(self, spark: "SparkSession", values: dict[Key, int]) -> None:
        """Set the accumulators that Spark's metrics system reads; register those that are new."""
        try:
            context: Any = spark.sparkContext
            scala: Any = context._jsc.sc()
            if scala.ui().isEmpty():
                return
            new = {
                ".".join((name, *(value for _, value in labels))): (name, labels)
                for name, labels in values
                if (name, labels) not in self._accumulators
            }
            made = {title: scala.longAccumulator(title) for title in new}
            self._accumulators |= {key: made[title] for title, key in new.items()}
            for key, value in values.items():
                self._accumulators[key].setValue(value)
            if made:
                jvm = context._jvm
                source = getattr(
                    jvm.org.apache.spark.metrics.source, "LongAccumulatorSource$"
                ).__getattr__("MODULE$")
                source.register(scala, jvm.PythonUtils.toScalaMap(made))
        except Exception:  # noqa: BLE001 - Spark may stop under our hands
            return


def render(values: dict[Key, int]) -> str:
    """The figures in Prometheus' text format. Source: prometheus.io, exposition formats, 0.0.4."""
    lines = []
    for name in HELP:
        found = {labels: value for (of, labels), value in values.items() if of == name}
        if found:
            lines += [f"# HELP pairmill_{name} {HELP[name]}", f"# TYPE pairmill_{name} gauge"]
        for labels, value in sorted(found.items()):
            told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
            lines.append(
                f"pairmill_{name}{{{told}}} {value}" if told else f"pairmill_{name} {value}"
            )
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _write(path: Path, text: str) -> None:
    """Replace the file at once: node-exporter reads whatever ends in .prom, half-written or not."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        return
