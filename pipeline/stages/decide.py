"""`decide`: every measured pair is kept, or dropped with its reasons. SQL over numbers; no picture
is read, so bounds can be changed and decided again in minutes.

Order: all bounds on measures, then `caption_rank` among the pairs of an image that pass, then
`is_representative` among the pictures that still have a passing pair. So a duplicate is never
dropped in favour of a picture that is dropped for what it is. Where the captions of near-duplicates
are kept with the picture that stays, that picture is found first, and the rank is among them all.
Last are balance and caps: they count what would be released otherwise, so that a cap is filled, and
a cluster of near-duplicates draws once for a concept, not once for each copy.
Cost: one scan of the numbers; shuffles by image and by fingerprint of 16-byte keys; survivors in
proportion to the edges between passing pictures. `captions` other than "own" adds a shuffle by
group with the captions in it.
"""

from collections.abc import Mapping
from contextlib import ExitStack
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
from pipeline.core.spark import hold
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
from pipeline.stages import balance
from pipeline.stages.score_section import measures_of

# Measures that only the decision itself can know, in the order they are judged.
CAPTION_RANK = "caption_rank"
IS_REPRESENTATIVE = "is_representative"
_LATE = StructType(
    [
        StructField(CAPTION_RANK, LongType()),
        StructField(IS_REPRESENTATIVE, DoubleType()),
        *balance.LATE.fields,
    ]
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

    early: bounds on what is measured; late: those on what is known only among the pairs that pass
    these. Both in the order of the recipe. section, filters: of the recipe.
    """

    section: DecideSection
    filters: Mapping[str, Filter]
    early: list[Stated]
    late: list[Stated]

    @property
    def by_rank(self) -> list[Bound]:
        """The bounds on the rank of a caption."""
        return [s.bound for s in self.late if s.bound.measure == CAPTION_RANK]

    @property
    def by_survival(self) -> list[Bound]:
        """The bounds on whether a picture stands for its near-duplicates."""
        return [s.bound for s in self.late if s.bound.measure == IS_REPRESENTATIVE]


def policy(section: DecideSection, filters: Mapping[str, Filter], measured: list[str]) -> Policy:
    """The policy of a recipe; measured: the columns of `measures`.

    Raises ConfigError for a bound on something that is not measured, or that must be a value and
    is not, and for `captions` without the filters that it works with.
    """
    bounds = bounds_of(filters, [*measured, *_LATE.names])
    early = [stated for stated in bounds if stated.bound.measure not in _LATE.names]
    late = [stated for stated in bounds if stated.bound.measure in _LATE.names]
    for stated in late:
        if stated.relative():
            raise ConfigError(
                f"filter {stated.filter} bounds {stated.bound.measure}, which is known only when "
                "all else is decided: give a number"
            )
    found = Policy(section, filters, early, late)
    if section.captions != Captions.OWN and not (found.by_rank and found.by_survival):
        raise ConfigError(
            f"decide.captions = {section.captions.value!r} takes captions of near-duplicates: it "
            "needs [filters.near_duplicate], and [filters.captions_per_image] to say how many"
        )
    return found


def build(ctx: Context[DecideSection]) -> list[Account]:
    """Write `decisions` and `cutoffs`. Raises as `policy` and `calibration.resolve`."""
    table = measures_of(ctx.sections, ctx.filters)
    decides = policy(ctx.config, ctx.filters, table.schema.names)
    measures = ctx.read(table)
    with watch(ctx.spark, "decide: cutoffs"):
        cutoffs = resolve(decides.early, measures, ctx.read(NULL_SCORES))
    ctx.store.remove(CUTOFFS.name)  # of a run that was killed
    with ctx.store.publish_part(CUTOFFS, 0) as sink:
        sink.write(cutoffs.table())
    rows, schema = cutoffs.at(measures), measures.schema
    is_failing = fails(decides.early, schema, cutoffs)
    failing = rows.where(is_failing).select(
        "pair_id", "image_id", reasons_at(decides.early, schema, cutoffs).alias("reasons")
    )
    with ExitStack() as held:
        passing = hold(judge_ranks(rows.where(~is_failing), decides), held)
        with watch(ctx.spark, "decide: survivors"):
            decided = judge_rest(ctx, passing, decides, held)
        together = _as_decisions(failing).unionByName(_as_decisions(decided))
        ctx.write(DECISIONS, together, codec="lz4_raw")
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
        *balance.columns(decides.filters),
    ).repartition("fingerprint")
    if not (decides.by_rank and is_own):
        return judged
    return judge_caption_rank(judged, decides.by_rank)


def judge_rest(ctx: Context[Any], judged: DataFrame, decides: Policy, held: ExitStack) -> DataFrame:
    """Judge what is left by which picture stays and whose captions it gets, then by balance.

    judged: of `judge_ranks`; read several times. held: is closed when the result is not needed any
    more. Adds what `place` adds, and picture_id where
    captions move.
    """
    return balance.judge(_judge_survivors(ctx, judged, decides, held), decides.filters)


def _judge_survivors(
    ctx: Context[Any], judged: DataFrame, decides: Policy, held: ExitStack
) -> DataFrame:
    if not decides.by_survival:
        return judged
    edges = all_edges(ctx.read(NEIGHBORS), ctx.read(COPIES))
    released = ctx.read(RELEASED_NEIGHBORS)
    placed = place(judged, edges, released, decides.section.driver_edges, held)
    if decides.section.captions == Captions.OWN:
        return judge_survival(placed, decides.by_survival)
    return judge_group_captions(
        placed, decides.by_survival, decides.by_rank, decides.section.captions
    )


def judge_caption_rank(passing: DataFrame, bounds: list[Bound]) -> DataFrame:
    """Judge pairs that pass the bounds by their place, from 0, among those of their image.

    Best similarity first, then the smaller pair_id.
    """
    # Of an image there is one fingerprint: named too, since rows lie by it already.
    best_first = Window.partitionBy("fingerprint", "image_id").orderBy(
        F.col("priority.neg_similarity"), F.col("pair_id")
    )
    ranked = passing.withColumn(CAPTION_RANK, (F.row_number().over(best_first) - 1).cast("long"))
    return ranked.withColumn("reasons", failed_reasons(bounds, _LATE)).drop(CAPTION_RANK)


def place(
    judged: DataFrame,
    edges: DataFrame,
    released: DataFrame,
    driver_edges: int,
    held: ExitStack,
) -> DataFrame:
    """Find the picture that stands for each pair's own among the passing pairs.

    Adds stands (its own picture does) and, null where it does: duplicate_of, duplicate_distance,
    duplicate_similarity, duplicate_rule, is_released. A pair that does not pass keeps out of it: it
    stands, and gives way to nobody.
    """
    instead = represented(judged.where(_passes()), edges, released, driver_edges, held)
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
