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

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter
from pipeline.core.progress import watch
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import (
    COPIES,
    CUTOFFS,
    DECISIONS,
    NEIGHBORS,
    NULL_SCORES,
    RELEASED_NEIGHBORS,
    measures_table,
)
from pipeline.match.calibration import resolve
from pipeline.match.captions import rank_in_groups
from pipeline.match.cutoffs import Stated
from pipeline.match.survivors import all_edges, priority, represented
from pipeline.match.verdicts import bounds_of, failed_reasons, fails, reasons_at
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


@dataclass(frozen=True)
class Policy:
    """What decides, of one recipe.

    early: bounds on what is measured; by_rank, by_survival: those on what is known only among the
    pairs that pass these. All in the order of the recipe. section: of the recipe.
    """

    section: DecideSection
    early: list[Stated]
    by_rank: list[Stated]
    by_survival: list[Stated]


def policy(section: DecideSection, filters: Mapping[str, Filter], measured: list[str]) -> Policy:
    """The policy of a recipe; measured: the columns of `measures`.

    Raises ConfigError for a bound on something that is not measured, or that must be a value and
    is not, and for `captions` without the filters that it works with.
    """
    bounds = bounds_of(filters, [*measured, *_LATE.names])
    by_rank = [stated for stated in bounds if stated.bound.measure == CAPTION_RANK]
    by_survival = [stated for stated in bounds if stated.bound.measure == IS_REPRESENTATIVE]
    early = [stated for stated in bounds if stated.bound.measure not in _LATE.names]
    for stated in (*by_rank, *by_survival):
        if stated.relative():
            raise ConfigError(
                f"filter {stated.filter} bounds {stated.bound.measure}, which is known only when "
                "all else is decided: give a number"
            )
    if section.captions != Captions.OWN and not (by_rank and by_survival):
        raise ConfigError(
            f"decide.captions = {section.captions.value!r} takes captions of near-duplicates: it "
            "needs [filters.near_duplicate], and [filters.captions_per_image] to say how many"
        )
    return Policy(section, early, by_rank, by_survival)


def build(ctx: Context[DecideSection]) -> list[Account]:
    """Write `decisions` and `cutoffs`. Raises as `policy` and `calibration.resolve`."""
    table = measures_of(ctx.sections, ctx.filters)
    decides = policy(ctx.config, ctx.filters, table.schema.names)
    measures = ctx.read(table)
    with watch(ctx.spark, "decide: cutoffs"):
        cutoffs = resolve(decides.early, measures, ctx.read(NULL_SCORES))
    ctx.write(CUTOFFS, ctx.from_arrow(cutoffs.table()).coalesce(1))
    rows, schema = cutoffs.at(measures), measures.schema
    is_failing = fails(decides.early, schema, cutoffs)
    failing = rows.where(is_failing).select(
        "pair_id", "image_id", reasons_at(decides.early, schema, cutoffs).alias("reasons")
    )
    passing = judge_ranks(rows.where(~is_failing), decides).persist()
    with watch(ctx.spark, "decide: survivors"):
        decided = judge_survivors(ctx, passing, decides)
    ctx.write(DECISIONS, _as_decisions(failing).unionByName(_as_decisions(decided)))
    passing.unpersist()
    return [_account(ctx, measures.count())]


def judge_ranks(passing: DataFrame, decides: Policy) -> DataFrame:
    """Judge what passes the early bounds by its rank among the captions of its image.

    passing: rows of `measures`. The result lies by fingerprint, as what follows wants it; that
    brings the pairs of an image together too, since an image has one fingerprint.
    """
    is_own = decides.section.captions == Captions.OWN
    judged = passing.select(
        "pair_id",
        "image_id",
        "fingerprint",
        priority().alias("priority"),
        F.array().cast("array<string>").alias("reasons"),
        *([] if is_own else ["caption"]),
    ).repartition("fingerprint")
    if not (decides.by_rank and is_own):
        return judged
    return judge_caption_rank(judged, _bounds(decides.by_rank))


def judge_survivors(ctx: Context[Any], judged: DataFrame, decides: Policy) -> DataFrame:
    """Judge what is left by which picture stays, and whose captions it gets.

    judged: of `judge_ranks`; read several times. Adds what `place` adds, and picture_id where
    captions move.
    """
    if not decides.by_survival:
        return judged
    edges = all_edges(ctx.read(NEIGHBORS), ctx.read(COPIES))
    released = ctx.read(RELEASED_NEIGHBORS)
    placed = place(judged, edges, released, decides.section.driver_edges)
    if decides.section.captions == Captions.OWN:
        return judge_survival(placed, _bounds(decides.by_survival))
    return judge_group_captions(
        placed, _bounds(decides.by_survival), _bounds(decides.by_rank), decides.section.captions
    )


def _bounds(stated: list[Stated]) -> list[Bound]:
    return [one.bound for one in stated]


def judge_caption_rank(judged: DataFrame, bounds: list[Bound]) -> DataFrame:
    """Judge each passing pair by its place, from 0, among the passing pairs of its image.

    Best similarity first, then the smaller pair_id.
    """
    # Of an image there is one fingerprint: named too, since rows lie by it already.
    passing_first = Window.partitionBy("fingerprint", "image_id").orderBy(
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
    highs = [b.high for b in by_rank if isinstance(b.high, float | int)]
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
    decided = decided.withColumns(
        {
            "is_kept": _passes(),
            "reason": F.try_element_at("reasons", F.lit(1)),
            "picture_id": F.coalesce("picture_id", "image_id"),
        }
    )
    return decided.select(*DECISIONS.schema.names)


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
    reads=(measures_table([]), NEIGHBORS, RELEASED_NEIGHBORS, COPIES, NULL_SCORES),
    writes=(DECISIONS, CUTOFFS),
    config=DecideSection,
    build=build,
    uses=("filters",),
)
