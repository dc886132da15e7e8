"""`decide`: every measured pair is kept, or dropped with its reasons. SQL over numbers; no picture
is read, so bounds can be changed and decided again in minutes.

Order: all bounds on measures, then `caption_rank` among the pairs of an image that pass, then
`is_representative` among the pictures that still have a passing pair. So a duplicate is never
dropped in favour of a picture that is dropped itself. Where the captions of near-duplicates are
kept with the picture that stays, that picture is found first, and the rank is among them all.
Cost: one scan of the numbers; shuffles by image and by fingerprint of 16-byte keys; survivors in
proportion to the edges between passing pictures. `captions` other than "own" adds a shuffle by
group with the captions in it.
"""

from enum import StrEnum

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound
from pipeline.core.progress import watch
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import (
    COPIES,
    DECISIONS,
    NEIGHBORS,
    RELEASED_NEIGHBORS,
    measures_table,
)
from pipeline.match.captions import rank_in_groups
from pipeline.match.survivors import all_edges, priority, represented
from pipeline.match.verdicts import bounds_of, failed_reasons
from pipeline.stages.score_section import measures_of

# Measures that only the decision itself can know, in the order they are judged.
CAPTION_RANK = "caption_rank"
IS_REPRESENTATIVE = "is_representative"
_LATE = StructType(
    [StructField(CAPTION_RANK, LongType()), StructField(IS_REPRESENTATIVE, DoubleType())]
)


class Captions(StrEnum):
    """Which captions go with a picture that stands for its near-duplicates."""

    OWN = "own"  # those of its own image, the best by similarity
    BEST = "best"  # of all of them, the best by similarity
    DIVERSE = "diverse"  # of all of them, those most unlike each other


class DecideSection(StageSection):
    """`[decide]`.

    captions: "own": a picture keeps captions of its own image. "best": the best of its own and of
        those of the near-duplicates that gave way to it, by similarity; each is judged by the
        similarity to its own picture. "diverse": of the same, those most unlike each other. How
        many is `filters.captions_per_image.max_captions`.
    driver_edges: once no more edges than this are undecided, the survivors are settled in one pass
        on the driver instead of in rounds; changes speed only.
    """

    captions: Captions = Captions.OWN
    driver_edges: int = tuning(1_000_000, ge=0)


def build(ctx: Context[DecideSection]) -> list[Account]:
    """Write `decisions`. Raises ConfigError for a bound on something that is not measured, and for
    `captions` without the filters that it works with."""
    table = measures_of(ctx.sections, ctx.filters)
    bounds = bounds_of(ctx.filters, [*table.schema.names, *_LATE.names])
    by_rank = [bound for bound in bounds if bound.measure == CAPTION_RANK]
    by_survival = [bound for bound in bounds if bound.measure == IS_REPRESENTATIVE]
    early = [bound for bound in bounds if bound.measure not in _LATE.names]
    policy = ctx.config.captions
    if policy != Captions.OWN and not (by_rank and by_survival):
        raise ConfigError(
            f"decide.captions = {policy.value!r} takes captions of near-duplicates: it needs "
            "[filters.near_duplicate], and [filters.captions_per_image] to say how many"
        )
    measures = ctx.read(table)
    judged = measures.select(
        "pair_id",
        "image_id",
        "fingerprint",
        priority().alias("priority"),
        failed_reasons(early, measures.schema).alias("reasons"),
        *([] if policy == Captions.OWN else ["caption"]),
    )
    if by_rank and policy == Captions.OWN:
        judged = judge_caption_rank(judged, by_rank)
    judged = judged.persist()
    decided = judged
    if by_survival:
        with watch(ctx.spark, "decide: survivors"):
            decided = place(
                judged,
                all_edges(ctx.read(NEIGHBORS), ctx.read(COPIES)),
                ctx.read(RELEASED_NEIGHBORS),
                ctx.config.driver_edges,
            )
        if policy == Captions.OWN:
            decided = judge_survival(decided, by_survival)
        else:
            decided = judge_group_captions(decided, by_survival, by_rank, policy)
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


def place(judged: DataFrame, edges: DataFrame, released: DataFrame, driver_edges: int) -> DataFrame:
    """Find the picture that stands for each pair's own among the passing pairs.

    Adds stands (its own picture does) and, null where it does: duplicate_of, duplicate_distance,
    duplicate_similarity, duplicate_rule, is_released. A pair that does not pass keeps out of it: it
    stands, and gives way to nobody.
    """
    instead = represented(judged.where(_passes()), edges, released, driver_edges)
    placed = judged.join(instead, "fingerprint", "left")
    # A released picture may be this very image: it is not released again.
    stands = (
        ~_passes()
        | F.col("representative").isNull()
        | ((F.col("representative") == F.col("image_id")) & ~F.col("is_released"))
    )
    return placed.withColumn("stands", stands).withColumns(
        {
            "duplicate_of": F.when(~F.col("stands"), F.col("representative")),
            "is_released": F.when(~F.col("stands"), F.col("is_released")),
            **{
                f"duplicate_{name}": F.when(~F.col("stands"), F.col(name))
                for name in ("distance", "similarity", "rule")
            },
        }
    )


def judge_survival(placed: DataFrame, bounds: list[Bound]) -> DataFrame:
    """Judge each passing pair by whether its picture stands for all its near-duplicates."""
    judged = placed.withColumn(IS_REPRESENTATIVE, F.col("stands").cast("double"))
    return judged.withColumn("reasons", _judged_late(bounds))


def judge_group_captions(
    placed: DataFrame, by_survival: list[Bound], by_rank: list[Bound], policy: Captions
) -> DataFrame:
    """Judge the passing pairs of each picture that stays, and of those that gave way to it.

    A pair whose caption is chosen, but not its picture, is kept with the picture that stays
    (`picture_id`). One that is not chosen fails `is_representative` where its picture gave way,
    `caption_rank` where it stays. A caption that several of them have is kept once.
    """
    highs = [bound.high for bound in by_rank if bound.high is not None]
    if not highs:
        raise ConfigError(f"decide.captions = {policy.value!r} needs a highest {CAPTION_RANK}")
    grouped = placed.withColumns(
        {
            "group_id": F.coalesce("duplicate_of", "image_id"),
            "is_own": F.col("stands"),
            # A picture that is released already takes no captions any more.
            "is_eligible": _passes() & ~F.coalesce("is_released", F.lit(False)),
            "neg_similarity": F.col("priority.neg_similarity"),
        }
    )
    ranked = rank_in_groups(grouped, int(min(highs)) + 1, policy == Captions.DIVERSE)
    is_chosen = F.col("is_first") & (F.size(failed_reasons(by_rank, _LATE)) == 0)
    judged = ranked.withColumn("is_chosen", is_chosen).withColumn(
        IS_REPRESENTATIVE, (F.col("stands") | F.col("is_chosen")).cast("double")
    )
    judged = judged.withColumn("reasons", _judged_late(by_survival))
    judged = judged.withColumn("reasons", _judged_late(by_rank))
    return judged.withColumn("picture_id", F.when(_passes(), F.col("group_id")))


def _passes() -> Column:
    return F.size("reasons") == 0


def _judged_late(bounds: list[Bound]) -> Column:
    """The reasons so far, or for a passing pair those of these bounds."""
    return F.when(_passes(), failed_reasons(bounds, _LATE)).otherwise(F.col("reasons"))


def _as_decisions(decided: DataFrame) -> DataFrame:
    """The columns of DECISIONS; those that nothing was judged for say so."""
    known = set(decided.columns)
    empty = {
        "duplicate_of": "binary",
        "duplicate_rule": "string",
        "duplicate_distance": "int",
        "duplicate_similarity": "float",
        "picture_id": "binary",
    }
    decided = decided.withColumns(
        {name: F.lit(None).cast(kind) for name, kind in empty.items() if name not in known}
    )
    return decided.withColumns(
        {
            "is_kept": _passes(),
            "reason": F.try_element_at("reasons", F.lit(1)),
            "picture_id": F.coalesce("picture_id", "image_id"),
        }
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
    reads=(measures_table([]), NEIGHBORS, RELEASED_NEIGHBORS, COPIES),
    writes=(DECISIONS,),
    config=DecideSection,
    build=build,
    uses=("filters",),
)
