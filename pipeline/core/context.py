"""What a stage works with: its config, the tables, and the two ways to write one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from pipeline.core import records
from pipeline.core import spark as spark_io
from pipeline.core.accounts import Account, merge
from pipeline.core.errors import ContractError
from pipeline.core.filter import Filter
from pipeline.core.following import Bell, Follower, Live
from pipeline.core.metrics import Metrics
from pipeline.core.progress import watch
from pipeline.core.stage import Section, StageSection
from pipeline.core.storage import PartSink, Store, Superseded
from pipeline.core.tables import Table

C = TypeVar("C", bound=StageSection, covariant=True)
P = TypeVar("P")

# The driver keeps some 10 KB of each task of a job until the job has ended.
_TASKS_PER_JOB = 10_000
_ACCOUNTS_PER_TASK = 500


@dataclass(frozen=True)
class Context(Generic[C]):
    """Handed to `Stage.build`.

    config: the stage's own section; `sections` has all of them, "run" included.
    filters: the enabled filters by name.
    metrics: figures of the run.
    """

    stage: str
    spark: SparkSession
    store: Store
    config: C
    sections: Mapping[str, Section]
    filters: Mapping[str, Filter]
    metrics: Metrics = field(default_factory=Metrics)

    @cached_property
    def bell(self) -> Bell:
        """The alarm of this stage."""
        run: Any = self.sections.get("run")
        earlier = records.history(run.usual_runs, self.stage) if run is not None else {}
        return Bell(self.stage, self.spark, self.config, self.metrics, earlier)

    def read(self, table: Table) -> DataFrame:
        """A table of this run, checked against its schema."""
        return spark_io.read_table(self.spark, self.store, table)

    def write(self, table: Table, rows: DataFrame, codec: str = "zstd") -> int:
        """Query stage: write a table with Spark, checked; the number of rows written.

        codec: as `spark.write_table`.
        """
        with watch(self.spark, f"{self.stage}: {table.name}"):
            return spark_io.write_table(self.store, table, rows, codec)

    def run_parts(
        self,
        table: Table,
        work: Callable[[int, P, PartSink], None],
        todo: Sequence[tuple[int, P]],
    ) -> list[Account]:
        """Part stage: run `work(part, payload, sink)` in one Spark task for each missing part.

        `work` puts rows in `sink.write` and its accounts in `sink.accounts`; the part is published
        when it returns. It must be picklable (a function of a module, or a partial of one).
        Returns the accounts of all parts, those of earlier runs included. Where there is nothing to
        do, the table is one part without rows.
        """
        task = partial(_run_part, self.store, table, work)
        payloads = dict(todo)

        def run(missing: Sequence[int]) -> None:
            for start in range(0, len(missing), _TASKS_PER_JOB):
                items = [(part, payloads[part]) for part in missing[start : start + _TASKS_PER_JOB]]
                self.spark.sparkContext.parallelize(items, len(items)).foreach(task)

        return self._run_missing(table, [part for part, _ in todo], run)

    def run_lanes(
        self,
        table: Table,
        sharing: Callable[[Sequence[int]], AbstractContextManager[Callable[[int], None]]],
        todo: Sequence[int],
        live: Live | None = None,
        parts_at_once: int = 1,
    ) -> list[Account]:
        """Part stage whose tasks work on several parts each: a task for every core.

        sharing: given the missing parts, a context that holds while the tasks run, and the work of
            one task, which gets its number. The tasks divide the parts among themselves and publish
            each; the work must be picklable.
        live: what comes before parts are committed. parts_at_once: parts that a task has open.
        Returns the accounts of all parts, those of earlier runs included. Raises ContractError when
        the tasks have left a part undone.
        """

        def run(missing: Sequence[int]) -> None:
            context = self.spark.sparkContext
            lanes = min(len(missing), context.defaultParallelism)
            with sharing(missing) as work:
                context.parallelize(range(lanes), lanes).foreach(work)
            left = set(missing) - self.store.committed(table).keys()
            if left:
                raise ContractError(f"{self.stage}: parts {sorted(left)[:5]} were not done")

        return self._run_missing(table, todo, run, live, parts_at_once)

    def amend_lanes(
        self,
        table: Table,
        sharing: Callable[[Sequence[int]], AbstractContextManager[Callable[[int], None]]],
        parts: Sequence[int],
        live: Live | None = None,
    ) -> None:
        """As `run_lanes`, for parts that are there: each is replaced by its next round. Raises
        ContractError likewise."""
        self.store.sweep(table.name)
        before = {part: self.store.part_round(table, part) for part in parts}
        if parts:
            context = self.spark.sparkContext
            lanes = min(len(parts), context.defaultParallelism)
            with self._followed(table, (), live, lanes), sharing(parts) as work:
                context.parallelize(range(lanes), lanes).foreach(work)
        left = [p for p in parts if not self.store.has_round(table, p, before[p] + 1)]
        if left:
            raise ContractError(f"{self.stage}: parts {left[:5]} were not done")

    def _run_missing(
        self,
        table: Table,
        todo: Sequence[int],
        run: Callable[[Sequence[int]], None],
        live: Live | None = None,
        parts_at_once: int = 1,
    ) -> list[Account]:
        self.bell.has_parts = True
        self.store.sweep(table.name)
        if not todo and not self.store.committed(table):
            with self.store.publish_part(table, 0):
                pass
        done = self.store.committed(table)
        missing = [part for part in todo if part not in done]
        if missing:
            records.write_progress(self.store, self.stage, table, len(todo), len(missing))
            in_flight = self.spark.sparkContext.defaultParallelism * parts_at_once
            with self._followed(table, todo, live, in_flight):
                run(missing)
        return self.accounts(table, todo)

    def accounts(self, table: Table, parts: Sequence[int]) -> list[Account]:
        """The accounts that committed parts of a part table hold, summed by unit. Those of many
        parts are read by tasks."""
        read = partial(_accounts_of, self.store, table)
        if len(parts) <= _ACCOUNTS_PER_TASK:
            return read(parts)
        tasks = -(-len(parts) // _ACCOUNTS_PER_TASK)
        rows = self.spark.sparkContext.parallelize(parts, tasks)
        return merge(rows.mapPartitions(lambda some: read(list(some))).collect())

    @contextmanager
    def _followed(
        self, table: Table, todo: Sequence[int], live: Live | None, in_flight: int
    ) -> Iterator[None]:
        """Show, note and judge what tasks do inside the block. Raises PairmillError when the alarm
        has ended it."""
        bell, label = self.bell, f"{self.stage}: {table.name}"
        follower = Follower(self.store, table, label, todo, bell, live, in_flight)
        try:
            with watch(self.spark, label, follower.read):
                yield
        except Exception as error:
            bell.check(error)
            raise
        finally:
            with suppress(OSError):
                follower.finish()

    def from_arrow(self, rows: pa.Table) -> DataFrame:
        """A small Arrow table as a DataFrame."""
        return self.spark.createDataFrame(rows)


def _accounts_of(store: Store, table: Table, parts: Sequence[int]) -> list[Account]:
    return merge(a for part in parts for a in store.part_accounts(table, part))


def _run_part(
    store: Store,
    table: Table,
    work: Callable[[int, P, PartSink], None],
    item: tuple[int, P],
) -> None:
    part, payload = item
    # A task that was given up for lost may end after its successor.
    with suppress(Superseded), store.publish_part(table, part) as sink:
        work(part, payload, sink)
