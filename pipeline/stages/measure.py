"""`measure`: everything each pair is judged by, in one table; nothing is judged yet.

The rows of a part lie together: a task reads its candidates, images and scores, runs all enabled
filters over them in one pass, and writes its part of `measures`; texts are read and written once,
and the JVM sees none of them. Scores, and what was found of pictures by content, are brought to
their parts before, which shuffles keys and numbers, once; by image first where pictures have
scorers, or semantic similarities. Cost: it grows linearly with pairs.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ContractError
from pipeline.core.reasons import DropReason, Status
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import (
    CANDIDATES,
    IMAGES,
    LISTED,
    SCORES,
    SEMANTICS,
    measures_table,
    picture_scores_table,
)
from pipeline.match.listed import evaluation_lists, without_blocked
from pipeline.stages.measure_part import PartWork, inputs_table
from pipeline.stages.score_section import (
    measures_of,
    picture_scores_of,
    score_fields,
    scores_of,
)


class MeasureSection(StageSection):
    """`[measure]`: what is measured is up to the `[filters.*]` sections."""


def build(ctx: Context[MeasureSection]) -> list[Account]:
    """Write `measures`; the account of pairs, dropped by image status, `blocked` or `no_score`.

    Raises ContractError when a measure of two enabled filters has the same name.
    """
    table = measures_of(ctx.sections, ctx.filters)
    if len(set(table.schema.names)) < len(table.schema.names):
        raise ContractError(f"a measure is named twice: {', '.join(table.schema.names)}")
    fields = tuple(score_fields(ctx.sections))
    inputs = inputs_table(fields)
    if not ctx.store.exists(f"{inputs.name}/_SUCCESS"):
        found = picture_scores_of(ctx.sections)
        rows = found_by_content(
            ctx.read(IMAGES),
            ctx.read(scores_of(ctx.sections)),
            ctx.read(SEMANTICS),
            ctx.read(LISTED),
            ctx.read(found) if len(found.schema) > 1 else None,
        )
        ctx.write(inputs, rows.repartition("part"), codec="lz4_raw")
    measuring = tuple(chosen for chosen in ctx.filters.values() if chosen.measures)
    work = PartWork(ctx.store, fields, measuring)
    accounts = ctx.run_parts(table, work, [(n, None) for n in ctx.store.folders(CANDIDATES)])
    ctx.store.remove(inputs.name)
    return accounts or [Account("pairs")]


def found_by_content(
    images: DataFrame,
    scores: DataFrame,
    semantics: DataFrame,
    listed: DataFrame,
    pictures: DataFrame | None = None,
) -> DataFrame:
    """Rows of INPUTS, of `measure_part`.

    pictures: `picture_scores`, where there are scorers.
    """
    found = _of_pictures(images, semantics, listed, pictures)
    if found is None:
        return scores.withColumns(
            {
                "semantic_similarity": F.lit(None).cast("float"),
                "evaluation_list": F.lit(None).cast("string"),
            }
        )
    is_blocked = F.coalesce("is_blocked", F.lit(False))
    scored = scores.join(found.drop("part"), "image_id", "left").where(~is_blocked)
    # A blocked picture has a row of its own, and none for its pairs.
    blocked = found.where("is_blocked").withColumn("pair_id", F.lit(None).cast("binary"))
    return scored.unionByName(blocked, allowMissingColumns=True).drop("is_blocked")


def _of_pictures(
    images: DataFrame, semantics: DataFrame, listed: DataFrame, pictures: DataFrame | None
) -> DataFrame | None:
    """What was found of downloaded pictures by content: image_id, part, is_blocked and what it is;
    None for nothing. Where only lists tell anything, pictures that are on none have no row."""
    others = [semantics.select("content_id", "semantic_similarity")]
    others += [] if pictures is None else [pictures]
    is_described = pictures is not None or not semantics.isEmpty()
    if not is_described and listed.isEmpty():
        return None
    is_blocked = F.col("status") == DropReason.BLOCKED.value
    found = (
        without_blocked(images, listed)
        .where((F.col("status") == Status.OK.value) | is_blocked)
        .select(
            "image_id",
            "part",
            "fingerprint",
            F.substring("sha256", 1, 16).alias("content_id"),
            is_blocked.alias("is_blocked"),
        )
    )
    for other in others:
        found = found.join(other, "content_id", "left")
    found = found.join(evaluation_lists(listed), "fingerprint", "left")
    if not is_described:
        found = found.where("is_blocked OR evaluation_list IS NOT NULL")
    return found.drop("fingerprint", "content_id")


STAGE = Stage(
    name="measure",
    reads=(CANDIDATES, IMAGES, SCORES, picture_scores_table(), SEMANTICS, LISTED),
    writes=(measures_table([]),),
    config=MeasureSection,
    build=build,
    uses=("measures",),
    folders=(inputs_table().name,),
)
