"""A run's tables as the report reads them: DuckDB in the driver's process, no Spark.

The report asks some thirty questions of every row. Column by column and in one process that is a
matter of seconds for ten million pairs; what does not fit into memory is spilled to disk.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import checksums
from pipeline.core.errors import ContractError, DamagedFile, PairmillError
from pipeline.core.storage import Store
from pipeline.core.table_files import damage_told
from pipeline.core.tables import CANDIDATES, PAIRS, Table
from pipeline.stats import duplicates, sources, summary
from pipeline.stats.tally import Row

# Rows that are counted at a time: NumPy is called a few times for each batch.
_BATCH_ROWS = 65_536
# Asked for more than once, so computed once.
_DERIVED = {
    "dropped": duplicates.dropped,
    "owners": duplicates.owners,
    "linked": duplicates.linked_edges,
    "domains": sources.domains,
    "hosts": sources.hosts,
}


class Tables:
    """Every table by its name, `judged` (measures with what was decided), and those of `_DERIVED`,
    to be asked in DuckDB's SQL. asked: how many questions so far."""

    def __init__(self, run: summary.Run) -> None:
        self._run, self._connection = run, run.connection
        self.asked = 0

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, all at once."""
        self.asked += 1
        found: list[dict[str, Any]] = self._connection.sql(query).to_arrow_table().to_pylist()
        return found

    def figures(self, query: str) -> list[Row]:
        """The rows of a query of counts."""
        return [(r["figure"], r["series"], r["bucket"], r["value"]) for r in self.ask(query)]

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query, some at a time."""
        self.asked += 1
        yield from self._connection.sql(query).to_arrow_reader(_BATCH_ROWS)

    def captions(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """The texts of CANDIDATES.captions, and on how many images each is, some at a time.

        DuckDB would read all that is said of them, Arrow reads these two alone.
        """
        self.asked += 1
        store = self._run.store
        for path in self._run.files(CANDIDATES):
            with store.fs.open(path, "rb") as opened, damage_told(path):
                file = pq.ParquetFile(opened)
                leaves = [file.schema.column(n).path for n in range(len(file.schema))]
                mine = [p for p in leaves if p.endswith((".caption", ".caption_images"))]
                for batch in file.iter_batches(_BATCH_ROWS, columns=mine):
                    said = batch["captions"].flatten()
                    yield said.field("caption"), said.field("caption_images")

    def ends(self, table: Table) -> dict[str, tuple[float, float]]:
        """The lowest and highest value of every column of numbers for which the files' footers tell
        them, in all row groups with a value; a NaN is none."""
        files = ", ".join("'" + file.replace("'", "''") + "'" for file in self._run.files(table))
        if not files:
            return {}
        low, high = (f"TRY_CAST(stats_{end}_value AS DOUBLE)" for end in ("min", "max"))
        is_told = f"stats_null_count = num_values OR ({low} IS NOT NULL AND {high} IS NOT NULL)"
        rows = self.ask(
            f"SELECT path_in_schema AS name, min({low}) AS low, max({high}) AS high "
            f"FROM parquet_metadata([{files}]) GROUP BY name HAVING bool_and({is_told})"
        )
        return {row["name"]: (row["low"], row["high"]) for row in rows if row["low"] is not None}


@contextmanager
def opened(
    store: Store, tables: Sequence[Table], *, threads: int, memory_mb: int
) -> Iterator[Tables]:
    """The tables of a run, which are checked first.

    Rows of PAIRS without a caption only withhold their image: they are no pairs, and left out.
    threads: 0 for as many as the process may use. memory_mb: beyond, rows go to temporary files.
    Raises ContractError for a table that is not there or has other columns, DamagedFile for a file
    that is not as it was written (on a disk or NAS), PairmillError where DuckDB gives up.
    """
    with tempfile.TemporaryDirectory(prefix="pairmill-report-") as spill:
        settings: dict[str, str | bool | int] = {
            "threads": threads or len(os.sched_getaffinity(0)),
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": spill,
            "preserve_insertion_order": False,
        }
        run = summary.Run(store.root, settings, {PAIRS.name: "caption IS NOT NULL"})
        try:
            for table in tables:
                _require(run, table)
            _require_whole(run, tables)
            run.connection.execute(summary.JUDGED)
            for name, query in _DERIVED.items():
                run.connection.execute(f"CREATE TEMP TABLE {name} AS {query()}")
            yield Tables(run)
        except duckdb.OutOfMemoryException as error:
            raise PairmillError(
                f"the tables of {store.root} do not fit: raise report.memory_mb = {memory_mb}, or "
                f"give TMPDIR room ({_first_line(error)})"
            ) from error
        except duckdb.Error as error:
            raise PairmillError(
                f"the tables of {store.root} cannot be counted: {_first_line(error)}"
            ) from error
        finally:
            run.connection.close()


def _require(run: summary.Run, table: Table) -> None:
    """Raise ContractError unless a table is there with the columns of its schema; one without any
    row may have no file."""
    wanted = run.connection.from_arrow(table.schema.empty_table())
    if table.name not in run.tables:
        if not run.store.exists(table.name):
            raise ContractError(
                f"table {table.name} is not in {run.store.root}; run the stage that writes it first"
            )
        wanted.create(table.name)
        return
    there = run.connection.table(table.name)
    # The column of folders is not in the files, and DuckDB gives it a type of its own.
    expected, found = (
        {n: str(t) for n, t in zip(r.columns, r.types, strict=True) if n != table.partition}
        for r in (wanted, there)
    )
    if expected != found:
        missing = sorted(expected.items() - found.items())
        more = sorted(found.items() - expected.items())
        raise ContractError(f"table {table.name}: columns missing {missing}, unexpected {more}")


def _require_whole(run: summary.Run, tables: Sequence[Table]) -> None:
    """Raise DamagedFile for a file that does not hold the checksums beside it.

    DuckDB looks at none. All bytes are read for it, mostly those that are asked for soon.
    """
    if not run.store.is_local:
        return
    files = [file for table in tables for file in run.files(table)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for file, is_whole in zip(files, pool.map(checksums.holds, files), strict=True):
            if not is_whole:
                raise DamagedFile(file, "its size or content is not what was written")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["?"])[0]
