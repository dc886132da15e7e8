"""What a stage works with: its config, the tables, and the two ways to write one."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from pipeline.core import records
from pipeline.core import spark as spark_io
from pipeline.core.accounts import Account, merge
from pipeline.core.errors import ContractError
from pipeline.core.filter import Filter
from pipeline.core.progress import watch
from pipeline.core.stage import Section, StageSection
from pipeline.core.storage import PartSink, Store, Superseded
from pipeline.core.tables import Table

C = TypeVar("C", bound=StageSection, covariant=True)
P = TypeVar("P")


@dataclass(frozen=True)
class Context(Generic[C]):
    """Handed to `Stage.build`.

    config: the stage's own section; `sections` has all of them, "run" included.
    filters: the enabled filters by name.
    """

    stage: str
    spark: SparkSession
    store: Store
    config: C
    sections: Mapping[str, Section]
    filters: Mapping[str, Filter]

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
            items = [(part, payloads[part]) for part in missing]
            self.spark.sparkContext.parallelize(items, len(items)).foreach(task)

        return self._run_missing(table, [part for part, _ in todo], run)

    def run_lanes(
        self,
        table: Table,
        sharing: Callable[[Sequence[int]], AbstractContextManager[Callable[[int], None]]],
        todo: Sequence[int],
    ) -> list[Account]:
        """Part stage whose tasks work on several parts each: a task for every core.

        sharing: given the missing parts, a context that holds while the tasks run, and the work of
            one task, which gets its number. The tasks divide the parts among themselves and publish
            each; the work must be picklable.
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

        return self._run_missing(table, todo, run)

    def amend_lanes(
        self,
        table: Table,
        sharing: Callable[[Sequence[int]], AbstractContextManager[Callable[[int], None]]],
        parts: Sequence[int],
    ) -> None:
        """As `run_lanes`, for parts that are there: each is replaced by its next round. Raises
        ContractError likewise."""
        self.store.sweep(table.name)
        before = {part: self.store.part_round(table, part) for part in parts}
        if parts:
            context = self.spark.sparkContext
            lanes = min(len(parts), context.defaultParallelism)
            with watch(self.spark, f"{self.stage}: {table.name}"), sharing(parts) as work:
                context.parallelize(range(lanes), lanes).foreach(work)
        left = [p for p in parts if not self.store.has_round(table, p, before[p] + 1)]
        if left:
            raise ContractError(f"{self.stage}: parts {left[:5]} were not done")

    def _run_missing(
        self, table: Table, todo: Sequence[int], run: Callable[[Sequence[int]], None]
    ) -> list[Account]:
        self.store.sweep(table.name)
        if not todo and not self.store.committed(table):
            with self.store.publish_part(table, 0):
                pass
        done = self.store.committed(table)
        missing = [part for part in todo if part not in done]
        if missing:
            records.write_progress(self.store, self.stage, table, len(todo), len(missing))
            with watch(
                self.spark,
                f"{self.stage}: {table.name}",
                total=len(todo),
                count=lambda: len(self.store.committed(table)),
            ):
                run(missing)
        return merge(a for part in todo for a in self.store.part_accounts(table, part))

    def from_arrow(self, rows: pa.Table) -> DataFrame:
        """A small Arrow table as a DataFrame."""
        return self.spark.createDataFrame(rows)


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
