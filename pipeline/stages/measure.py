"""`measure`: everything each pair is judged by, in one table; nothing is judged yet.

Candidates are joined with their images and scores on 16-byte keys, and all enabled filters run in
one pass through Python that sees only the columns they read. Cost: two shuffles of rows of about
400 bytes, and one pass of the filters; it grows linearly with pairs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import from_arrow_schema

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ContractError
from pipeline.core.filter import Filter
from pipeline.core.reasons import DropReason, Status
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import (
    CANDIDATES,
    IMAGES,
    LISTED,
    PAIR_VIEW,
    SCORES,
    SEMANTICS,
    measures_table,
    picture_scores_table,
)
from pipeline.match.listed import evaluation_lists, without_blocked
from pipeline.stages.score_section import measures_of, picture_scores_of, scores_of


class MeasureSection(StageSection):
    """`[measure]`: what is measured is up to the `[filters.*]` sections."""


def build(ctx: Context[MeasureSection]) -> list[Account]:
    """Write `measures`; the account of pairs, dropped by image status, `blocked` or `no_score`.

    Raises ContractError when a measure of two enabled filters has the same name.
    """
    candidates, listed = ctx.read(CANDIDATES), ctx.read(LISTED)
    scores = ctx.read(scores_of(ctx.sections))
    found = picture_scores_of(ctx.sections)
    pictures = ctx.read(found) if len(found.schema) > 1 else None
    images = without_blocked(ctx.read(IMAGES), listed)
    table = measures_of(ctx.sections, ctx.filters)
    if len(set(table.schema.names)) < len(table.schema.names):
        raise ContractError(f"a measure is named twice: {', '.join(table.schema.names)}")
    account = count(candidates, images, scores)
    pairs = view(
        candidates, images, scores, ctx.read(SEMANTICS), evaluation_lists(listed), pictures
    )
    written = ctx.write(table, add_measures(pairs, ctx.filters))
    if written != account.kept:
        raise ContractError(f"measure: {account.kept} scored pairs, but {written} rows written")
    return [account]


def view(
    candidates: DataFrame,
    images: DataFrame,
    scores: DataFrame,
    semantics: DataFrame,
    evaluation: DataFrame,
    pictures: DataFrame | None = None,
) -> DataFrame:
    """The columns of the pair view, for every caption of an image that is ok and has a score.

    evaluation: fingerprint and evaluation_list, one row per picture that one names.
    pictures: `picture_scores`, where there are scorers.
    """
    fetched = images.where(F.col("status") == Status.OK.value).drop("part", "status")
    alike = semantics.select("content_id", "semantic_similarity")
    content = F.substring("sha256", 1, 16)
    fetched = fetched.withColumn("content_id", content).join(alike, "content_id", "left")
    beside = [name for name in scores.columns if name not in SCORES.schema.names]
    if pictures is not None:
        fetched = fetched.join(pictures, "content_id", "left")
        beside += pictures.drop("content_id").columns
    pairs = (
        candidates.drop("pages")  # of the image; each caption has its own
        .join(fetched, "image_id")
        .join(evaluation, "fingerprint", "left")
        .withColumn("pair", F.explode("captions"))
        .drop("captions")
        .select("*", "pair.*")
        .drop("pair")
    )
    return pairs.join(scores.drop("image_id"), "pair_id").select(*PAIR_VIEW.names, *beside)


def count(candidates: DataFrame, images: DataFrame, scores: DataFrame) -> Account:
    """What becomes of every pair, counted over keys and statuses alone."""
    rows_in = candidates.agg(F.sum(F.size("captions"))).first()
    pairs = candidates.select("image_id", F.explode("captions.pair_id").alias("pair_id")).join(
        images.select("image_id", "status"), "image_id"
    )
    scored = scores.select("pair_id", F.lit(True).alias("is_scored"))
    fates = pairs.join(scored, "pair_id", "left").groupBy("status", "is_scored").count()
    account = Account("pairs")
    for row in fates.collect():
        if row["status"] != Status.OK:
            account.drop(row["status"], row["count"])
        elif row["is_scored"]:
            account.keep(row["count"])
        else:
            account.drop(DropReason.NO_SCORE, row["count"])
    # What came in is counted apart, so that a lost or a doubled pair shows in the check.
    account.rows_in = (rows_in and rows_in[0]) or 0
    return account


def add_measures(pairs: DataFrame, filters: Mapping[str, Filter]) -> DataFrame:
    """The pairs, and beside them every measure of the filters. One pass through Python.

    Only the columns that filters read go to Python; the others stay in the JVM. Without a filter
    that measures, nothing goes there.
    """
    measuring = tuple(f for f in filters.values() if f.measures)
    if not measuring:
        return pairs
    reads = tuple(dict.fromkeys(name for f in measuring for name in f.reads))
    fields = [field for f in measuring for field in f.measures]
    measured = _udf(measuring, reads, fields)(*(F.col(name) for name in reads))
    kept = pairs.columns
    return pairs.withColumn("measured", measured).select(
        *kept, *(F.col("measured")[field.name].alias(field.name) for field in fields)
    )


def _udf(
    measuring: tuple[Filter, ...], reads: tuple[str, ...], fields: list[pa.Field]
) -> Callable[..., Column]:
    """All filters as one vectorised function of the columns they read, giving a struct."""

    def measure_batch(*columns: pa.Array) -> pa.Array:
        return measure_all(pa.RecordBatch.from_arrays(list(columns), names=list(reads)), measuring)

    # Typed as Any: the stubs know neither struct results nor functions of several columns.
    vectorised: Any = arrow_udf
    made: Callable[..., Column] = vectorised(measure_batch, from_arrow_schema(pa.schema(fields)))
    return made


def measure_all(batch: pa.RecordBatch, filters: tuple[Filter, ...]) -> pa.StructArray:
    """Every measure of the filters, one struct per row of the batch.

    Raises ContractError when a filter gives other columns than it declares.
    """
    arrays, fields = [], []
    for chosen in filters:
        found = chosen.measure(batch.select(list(chosen.reads)))
        name = type(chosen).__name__
        if len(found) != len(chosen.measures):
            raise ContractError(
                f"{name} gave {len(found)} columns, but declares {len(chosen.measures)}"
            )
        for field, array in zip(chosen.measures, found, strict=True):
            if array.type != field.type or len(array) != batch.num_rows:
                raise ContractError(
                    f"{name}: {field.name} is {array.type} [{len(array)}], "
                    f"not {field.type} [{batch.num_rows}]"
                )
            arrays.append(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
            # Nullable as far as Spark knows; the written table is checked against the declaration.
            fields.append(pa.field(field.name, field.type))
    return pa.StructArray.from_arrays(arrays, fields=fields)


STAGE = Stage(
    name="measure",
    reads=(CANDIDATES, IMAGES, SCORES, picture_scores_table(), SEMANTICS, LISTED),
    writes=(measures_table([]),),
    config=MeasureSection,
    build=build,
    uses=("measures",),
)
