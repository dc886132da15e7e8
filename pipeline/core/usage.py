"""What a stage took: processor time, time of tasks, bytes through the shuffle."""

import os
import resource
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Usage:
    """Of one stage, or of a session so far.

    cpu_seconds: of the driver, the JVM and its Python workers, ended ones included; None where
    workers are on other machines, or where that is not known. task_seconds: of cores that tasks
    held, waits included; under a local master Spark tells the time by the clock instead.
    shuffle_bytes: written to shuffles, compressed as they were.
    """

    cpu_seconds: float | None
    task_seconds: float
    shuffle_bytes: int

    def since(self, earlier: "Usage") -> "Usage":
        """What was taken between the two."""
        cpu = None
        if self.cpu_seconds is not None and earlier.cpu_seconds is not None:
            cpu = round(self.cpu_seconds - earlier.cpu_seconds, 2)
            if cpu < 0:  # processes that had taken more have ended, and nobody has their time
                cpu = None
        return Usage(
            cpu,
            round(self.task_seconds - earlier.task_seconds, 2),
            self.shuffle_bytes - earlier.shuffle_bytes,
        )

    def to_json(self) -> dict[str, float]:
        """A JSON-ready form, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def usage(spark: "SparkSession") -> Usage:
    """What the session has taken so far."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

    context = spark.sparkContext
    java = context._jsc.sc()
    with suppress(Py4JJavaError):  # too busy to say all within ten seconds
        java.listenerBus().waitUntilEmpty()
    executors = java.statusStore().executorList(False)
    found = [executors.apply(i) for i in range(executors.size())]
    per_task = int(context.getConf().get("spark.task.cpus") or 1)
    is_local = str(context.master).startswith("local")
    return Usage(
        cpu_seconds(spark) if is_local else None,
        per_task * sum(e.totalDuration() for e in found) / 1000,
        sum(e.totalShuffleWrite() for e in found),
    )


def cpu_seconds(spark: "SparkSession") -> float | None:
    """Processor time so far of this process, the JVM and its Python workers, ended ones included;
    None where the system does not tell. What else this process has started is not in it."""
    java: Any = spark.sparkContext._jvm
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    jvm = int(java.java.lang.ProcessHandle.current().pid())
    if not Path(f"/proc/{jvm}/stat").exists():
        return None
    tick = os.sysconf("SC_CLK_TCK")
    for pid in [jvm, *_descendants(jvm)]:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended; its parent has its time
        # Fields 14 to 17 of proc(5): user, system, and those of the children waited for.
        total += sum(int(value) for value in stat[11:15]) / tick
    return total


def _descendants(pid: int) -> list[int]:
    """All processes below one, but for this one and those below it: spark-submit starts it."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in direct:
            if child != os.getpid():
                found += [child, *_descendants(child)]
    return found
