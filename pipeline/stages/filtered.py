"""Filters before the download: candidates whose captions all fail are not asked for.

The filters measure candidates as `measure` does and are judged as in `decide`. What they leave out
is a small table beside the run's, by part and under a name of its own for each choice of filters
and settings; the candidate's row in `images` then says `filtered`. A caption that fails beside one
that passes stays, and is judged later. Where a page opts out, that is told instead.

Cost: the columns that the filters read, once through Python, and a shuffle of some 30 bytes for
each caption that fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import records
from pipeline.core.balance import MEASURES
from pipeline.core.context import Context
from pipeline.core.filter import Filter, measured_fields
from pipeline.core.filters_first import filters_first, identity_of
from pipeline.core.progress import watch
from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, ID, PAIR_VIEW, Table, column
from pipeline.fetch.settings import DownloadSection

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KEYS = pa.schema([("part", pa.int32()), ("image_id", pa.binary()), ("of_image", pa.int32())])
FILTERED = Table(
    "filtered_first",
    "Candidates that filters before the download leave out.",
    ("image_id",),
    pa.schema(
        [
            column("image_id", ID, "of the candidate"),
            column("reasons", pa.string(), "the first reason of each caption, each once"),
        ]
    ),
    partition="part",
)


def table_of(config: DownloadSection, filters: Mapping[str, Filter]) -> Table | None:
    """Where it is noted what is left out by this choice of filters; None when none goes first."""
    first = filters_first(config.filters_first, filters)
    if not first:
        return None
    return replace(FILTERED, name=f"{FILTERED.name}/{records.digest(identity_of(first))}")


def note(ctx: Context[DownloadSection]) -> Table | None:
    """Write the table of the present filters, unless it is there; None when none goes first."""
    table = table_of(ctx.config, ctx.filters)
    if table is not None and not ctx.store.exists(f"{table.name}/_SUCCESS"):
        first = filters_first(ctx.config.filters_first, ctx.filters)
        with watch(ctx.spark, f"{ctx.stage}: {', '.join(first)}"):
            _write(ctx, table, left_out(ctx.read(CANDIDATES), first))
    return table


def left_out(candidates: "DataFrame", first: Mapping[str, Filter]) -> "DataFrame":
    """The candidates of which every caption fails: image_id, reasons, part."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    from pipeline.match.verdicts import bounds_of, failed_reasons

    fields = {field.name: field for field in (*PAIR_VIEW, *measured_fields(first))}
    stated = bounds_of(first, [*fields, *MEASURES])
    bounds = [one.bound for one in stated if one.bound.measure not in MEASURES]
    judged_by = [fields[name] for name in dict.fromkeys(bound.measure for bound in bounds)]
    reads = [name for chosen in first.values() for name in chosen.reads]
    reads += [field.name for field in judged_by if field.name in PAIR_VIEW.names]
    pairs = (
        candidates.withColumn("of_image", F.size("captions"))
        .drop("pages")  # of the image; each caption has its own
        .withColumn("pair", F.explode("captions"))
        .select("*", "pair.*")
        .select(*dict.fromkeys([*_KEYS.names, *reads]))
    )
    # Through an iterator: a filter on what a function gives would be pushed below it, and the
    # function called twice.
    schema = pa.schema([*_KEYS, *judged_by])
    measured = pairs.mapInArrow(partial(_measure, first, schema), from_arrow_schema(schema))
    reasons = failed_reasons(bounds, measured.schema)
    failing = measured.select(
        "part", "image_id", "of_image", F.try_element_at(reasons, F.lit(1)).alias("reason")
    ).where(F.col("reason").isNotNull())
    return (
        failing.repartition("part")
        .groupBy("part", "image_id")
        .agg(
            (F.count("*") == F.first("of_image")).alias("is_left_out"),
            F.array_join(F.array_sort(F.collect_set("reason")), ", ").alias("reasons"),
        )
        .where("is_left_out")
        .select("image_id", "reasons", "part")
    )


def _measure(
    first: Mapping[str, Filter], schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The columns of a schema, of pairs with their keys and what the filters read."""
    from pipeline.stages.measure_part import measure_all

    measuring = tuple(chosen for chosen in first.values() if chosen.measures)
    for batch in batches:
        measures = measure_all(batch, measuring)
        found = dict(zip(batch.schema.names, batch.columns, strict=True))
        found |= dict(zip(measures.schema.names, measures.columns, strict=True))
        yield pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)


def _write(ctx: Context[DownloadSection], table: Table, rows: "DataFrame") -> None:
    from pipeline.core import spark_files

    spark_files.write(ctx.store, table.name, rows.sortWithinPartitions("part"), "part")


def reasons_in(store: Store, part: int, table: Table | None) -> dict[bytes, str]:
    """Of the candidates of a part that are left out: image_id, and why."""
    # Spark writes no folder for a part without rows.
    if table is None or not store.exists(f"{table.name}/{table.partition}={part}"):
        return {}
    found: dict[bytes, str] = {}
    for batch in store.read_part(table, part, ["image_id", "reasons"]):
        found |= dict(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    return found


def let_in(rows: pa.RecordBatch, still_out: pa.Array) -> pa.BooleanArray:
    """Which rows of `images` were left out and are not any more.

    rows: at least image_id and status. still_out: image_ids, pa.binary().
    """
    was_out = pc.equal(rows.column("status"), str(Status.FILTERED))
    return pc.and_not(was_out, pc.is_in(rows.column("image_id"), still_out))
