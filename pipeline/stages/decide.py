"""`decide`: every measured pair is kept, or dropped with its reasons. SQL over numbers; no picture
is read, so bounds can be changed and decided again in minutes.

Order: all bounds on measures, then `caption_rank` among the pairs of an image that pass, then
`is_representative` among the pictures that still have a passing pair. So a duplicate is never
dropped in favour of a picture that is dropped itself.
Cost: one scan of the numbers; shuffles by image and by fingerprint of 16-byte keys; survivors in
proportion to the edges between passing pictures.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.filter import Bound
from pipeline.core.progress import watch
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import DECISIONS, NEIGHBORS, measures_table
from pipeline.match.survivors import directed, dropped_fingerprints, owners, priority
from pipeline.match.verdicts import bounds_of, failed_reasons

# Measures that only the decision itself can know, in the order they are judged.
CAPTION_RANK = "caption_rank"
IS_REPRESENTATIVE = "is_representative"
_LATE = StructType(
    [StructField(CAPTION_RANK, LongType()), StructField(IS_REPRESENTATIVE, DoubleType())]
)


class DecideSection(StageSection):
    """`[decide]`.

    driver_edges: once no more edges than this are undecided, the survivors are settled in one pass
        on the driver instead of in rounds; changes speed only.
    """

    driver_edges: int = tuning(1_000_000, ge=0)


def build(ctx: Context[DecideSection]) -> list[Account]:
    """Write `decisions`. Raises ConfigError for a bound on something that is not measured."""
    table = measures_table([field for chosen in ctx.filters.values() for field in chosen.measures])
    bounds = bounds_of(ctx.filters, [*table.schema.names, *_LATE.names])
    by_rank = [bound for bound in bounds if bound.measure == CAPTION_RANK]
    by_survival = [bound for bound in bounds if bound.measure == IS_REPRESENTATIVE]
    early = [bound for bound in bounds if bound.measure not in _LATE.names]
    measures = ctx.read(table)
    judged = measures.select(
        "pair_id",
        "image_id",
        "fingerprint",
        priority().alias("priority"),
        failed_reasons(early, measures.schema).alias("reasons"),
    )
    if by_rank:
        judged = judge_caption_rank(judged, by_rank)
    judged = judged.persist()
    decided = judged
    if by_survival:
        with watch(ctx.spark, "decide: survivors"):
            decided = judge_survival(
                judged, ctx.read(NEIGHBORS), by_survival, ctx.config.driver_edges
            )
    ctx.write(DECISIONS, _as_decisions(decided))
    judged.unpersist()
    return [_account(ctx, measures.count())]


def judge_caption_rank(judged: DataFrame, bounds: list[Bound]) -> DataFrame:
    """Judge each passing pair by its place, from 0, among the passing pairs of its image.

    Best similarity first, then the smaller pair_id.
    """
    passing_first = Window.partitionBy("image_id").orderBy(
        ~_passes(), F.col("priority.neg_similarity"), F.col("pair_id")
    )
    ranked = judged.withColumn(CAPTION_RANK, (F.row_number().over(passing_first) - 1).cast("long"))
    return ranked.withColumn("reasons", _judged_late(bounds)).drop(CAPTION_RANK)


def judge_survival(
    judged: DataFrame, neighbors: DataFrame, bounds: list[Bound], driver_edges: int
) -> DataFrame:
    """Judge each passing pair by whether its picture stands for all its near-duplicates.

    Adds duplicate_of and duplicate_distance: for a pair whose picture does not, the image that
    does. Within a fingerprint the best image by `survivors.priority` does (distance 0), unless
    the fingerprint gives way to a neighbour.
    """
    champions = (
        judged.where(_passes())
        .groupBy("fingerprint")
        .agg(
            F.min("priority").alias("priority"),
            (F.min("image_id") != F.max("image_id")).alias("has_rivals"),
        )
        .localCheckpoint()
    )
    edges = directed(neighbors, champions).localCheckpoint()
    owned = owners(edges, dropped_fingerprints(edges, driver_edges))
    contested = (
        champions.join(owned, "fingerprint", "left")
        .where(F.col("has_rivals") | F.col("owner").isNotNull())
        .select(
            "fingerprint",
            F.coalesce("owner", "priority.image_id").alias("representative"),
            F.coalesce("owner_distance", F.lit(0)).alias("distance"),
        )
    )
    placed = judged.join(contested, "fingerprint", "left")
    stands = F.col("representative").isNull() | (F.col("representative") == F.col("image_id"))
    is_duplicate = _passes() & ~stands
    return placed.withColumn(IS_REPRESENTATIVE, stands.cast("double")).withColumns(
        {
            "reasons": _judged_late(bounds),
            "duplicate_of": F.when(is_duplicate, F.col("representative")),
            "duplicate_distance": F.when(is_duplicate, F.col("distance")),
        }
    )


def _passes() -> Column:
    return F.size("reasons") == 0


def _judged_late(bounds: list[Bound]) -> Column:
    """The reasons so far, or for a passing pair those of these bounds."""
    return F.when(_passes(), failed_reasons(bounds, _LATE)).otherwise(F.col("reasons"))


def _as_decisions(decided: DataFrame) -> DataFrame:
    if "duplicate_of" not in decided.columns:
        decided = decided.withColumns(
            {
                "duplicate_of": F.lit(None).cast("binary"),
                "duplicate_distance": F.lit(None).cast("int"),
            }
        )
    return decided.withColumns(
        {"is_kept": _passes(), "reason": F.try_element_at("reasons", F.lit(1))}
    )


def _account(ctx: Context[DecideSection], rows: int) -> Account:
    """Pairs by their first reason, as written; `rows` came in."""
    account = Account("pairs", rows_in=rows)
    counts = ctx.read(DECISIONS).groupBy("reason").count().collect()
    for row in sorted(counts, key=lambda r: r["reason"] or ""):
        if row["reason"] is None:
            account.kept = row["count"]
        else:
            account.dropped[row["reason"]] = row["count"]
    return account


STAGE = Stage(
    name="decide",
    # The measures that filters add are known only with a config.
    reads=(measures_table([]), NEIGHBORS),
    writes=(DECISIONS,),
    config=DecideSection,
    build=build,
    uses=("filters",),
)
