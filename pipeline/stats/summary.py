"""A finished run for notebooks: every table as a DuckDB view. No Spark."""

import posixpath
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    COPIES,
    CUTOFFS,
    DECISIONS,
    EMBEDDINGS,
    IMAGES,
    NEIGHBORS,
    NULL_SCORES,
    PAIRS,
    RELEASED_NEIGHBORS,
    SCORES,
    SHARDS,
    STATS,
    Table,
    measures_table,
    picture_scores_table,
)
from pipeline.stats.funnel import Step, load_records, steps

TABLES = (
    PAIRS,
    CANDIDATES,
    IMAGES,
    NEIGHBORS,
    RELEASED_NEIGHBORS,
    EMBEDDINGS,
    COPIES,
    SCORES,
    picture_scores_table(),
    NULL_SCORES,
    measures_table([]),
    DECISIONS,
    CUTOFFS,
    SHARDS,
    STATS,
)


# The rows of `measures` with what was decided. As UUIDs ids are numbers, which are joined faster.
JUDGED = """
CREATE VIEW judged AS SELECT m.*, d.is_kept, d.reason, d.reasons, d.picture_id, d.duplicate_of,
    d.duplicate_rule, d.duplicate_distance, d.duplicate_similarity
FROM measures m JOIN decisions d ON CAST(m.pair_id AS UUID) = CAST(d.pair_id AS UUID)
"""


class Run:
    """A run's tables and stage records.

    tables: names of the tables that are there; each is a view of `connection` by that name.
    settings: of DuckDB. where: a condition on the rows of a table, by its name.
    """

    def __init__(
        self,
        root: str,
        settings: Mapping[str, str | bool | int] = MappingProxyType({}),
        where: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.store = Store(root)
        if not self.store.exists("_stages"):
            raise InputError(f"{self.store.root} is not a run: it has no _stages folder")
        self.connection = duckdb.connect(config=dict(settings))
        if not self.store.is_local:
            self.connection.register_filesystem(self.store.fs)
        self.tables = tuple(t.name for t in TABLES if self._register(t, where.get(t.name)))

    def _register(self, table: Table, condition: str | None) -> bool:
        files = self.files(table)
        if files:
            rows = self.connection.read_parquet(files, hive_partitioning=bool(table.partition))
            (rows.filter(condition) if condition else rows).create_view(table.name)
        return bool(files)

    def files(self, table: Table) -> list[str]:
        """Whole files only: what a running or killed task left has another name or folder."""
        fs, folder = self.store.fs, self.store.path(table.name)
        if not fs.exists(folder):
            return []
        return sorted(
            fs.unstrip_protocol(f) if not self.store.is_local else f
            for f in fs.find(folder)
            if f.endswith(".parquet")
            and posixpath.basename(f).startswith("part-")
            and "/_temporary/" not in f
        )

    def sql(self, query: str) -> pa.Table:
        """The result of a DuckDB query over the run's tables."""
        return self.connection.sql(query).to_arrow_table()

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Stage records, in line order."""
        return load_records(self.store)

    @property
    def funnel(self) -> list[Step]:
        """What every finished stage counted."""
        return steps(self.records)

    def figure(self, name: str) -> dict[str, dict[str, float]]:
        """A figure of the stats table: series -> bucket -> value; empty when it has none."""
        rows = self.connection.execute(
            "SELECT series, bucket, value FROM stats WHERE figure = ? ORDER BY series, bucket",
            [name],
        ).fetchall()
        found: dict[str, dict[str, float]] = {}
        for series, bucket, value in rows:
            found.setdefault(series, {})[bucket] = value
        return found

    def bounds(self, measure: str) -> tuple[float | None, float | None]:
        """Lowest and highest allowed value of a measure; None where that side is open."""
        sides = self.figure("bound").get(measure, {})
        return sides.get("low"), sides.get("high")


def load(root: str) -> Run:
    """Open a run folder. Raises InputError when it is none."""
    return Run(root)
