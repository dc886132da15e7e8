"""The last judgement of `decide`: pairs of concepts, domains and languages that there are too many
of (see `core.balance`). SQL alone, and the same under any partitioning.

Each filter judges the pairs that pass so far, in the order of the recipe. Cost of a cap: a count of
the pairs that pass by group and bucket, and a shuffle of them; no task has a whole domain or
language, however large it is. Cost of a draw: a count of the entries that these pairs have, and a
shuffle of the pairs by their id.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

from pipeline.core.balance import IS_BALANCED, MEASURES, Cap, Draw
from pipeline.core.filter import Filter
from pipeline.match.verdicts import failed_reasons

LATE = StructType(
    [StructField(n, DoubleType() if n == IS_BALANCED else LongType()) for n in MEASURES]
)
# A group is ranked in pieces: 1024 of equal size by hash, or of this width by similarity.
_HASH_BITS = 10
_PIECES_PER_UNIT = 4096


def columns(filters: Mapping[str, Filter]) -> list[str]:
    """The columns of `measures` that the enabled ones of these filters are judged by."""
    found = [f.group for f in filters.values() if isinstance(f, Cap)]
    found += [f.entries for f in filters.values() if isinstance(f, Draw)]
    return list(dict.fromkeys(found))


def judge(decided: DataFrame, filters: Mapping[str, Filter]) -> DataFrame:
    """Judge each pair that passes so far by each of these filters in turn.

    decided: pair_id, reasons (those so far), priority (of `match.survivors`) and `columns`; others
        are kept. Nothing is done without such filters.
    """
    for chosen in filters.values():
        if isinstance(chosen, Cap | Draw):
            # Used several times; and plans are not to grow with the filters.
            decided = decided.localCheckpoint()
            passing = decided.where(_passes())
            others = decided.where(~_passes())
            found = _ranked(passing, chosen) if isinstance(chosen, Cap) else _drawn(passing, chosen)
            late = [bound for bound in chosen.bounds() if bound.measure in MEASURES]
            judged = found.withColumn("reasons", failed_reasons(late, found.schema))
            decided = judged.select(*decided.columns).unionByName(others)
    return decided


def _passes() -> Column:
    return F.size("reasons") == 0


def _ranked(pairs: DataFrame, cap: Cap) -> DataFrame:
    """The pairs and their place in their group, from 0, as `cap.rank`.

    A piece of a group has the pairs whose keys begin alike, so that a place is the number of pairs
    in the pieces before, and the place in its own.
    """
    if cap.by == "hash":
        key = F.xxhash64("pair_id", F.lit(cap.rank), F.lit(cap.seed).cast("long"))
        piece = F.shiftrightunsigned(key, 64 - _HASH_BITS)
    else:
        key = F.col("priority.neg_similarity")
        piece = F.floor(key * _PIECES_PER_UNIT)
    pairs = pairs.withColumns({"_key": key, "_piece": piece})
    is_named = F.col(cap.group) != ""
    unnamed = pairs.where(~is_named).withColumn(cap.rank, F.lit(0).cast("long"))
    named = pairs.where(is_named)
    by_piece = Window.partitionBy(cap.group).orderBy("_piece")
    before = by_piece.rowsBetween(Window.unboundedPreceding, -1)
    sizes = (
        named.groupBy(cap.group, "_piece")
        .count()
        .select(cap.group, "_piece", F.coalesce(F.sum("count").over(before), F.lit(0)).alias("_n"))
    )
    own = F.row_number().over(Window.partitionBy(cap.group, "_piece").orderBy("_key", "pair_id"))
    ranked = named.join(sizes, [cap.group, "_piece"])
    ranked = ranked.withColumn(cap.rank, F.col("_n") + own - 1).drop("_n")
    return ranked.unionByName(unnamed)


def _drawn(pairs: DataFrame, draw: Draw) -> DataFrame:
    """The pairs and 1 where an entry draws them, else 0, as `is_balanced`."""
    having = pairs.select("pair_id", F.explode(draw.entries).alias("entry"))
    counted = having.groupBy("entry").count().where(F.col("count") > draw.max_pairs)
    # No more than there are entries in the list.
    common = F.broadcast(counted.select("entry", (draw.max_pairs / F.col("count")).alias("chance")))
    number = F.xxhash64("pair_id", F.col("entry").cast("int"), F.lit(draw.seed).cast("long"))
    # The 53 bits that a double holds, within [0, 1).
    at = F.shiftrightunsigned(number, 11) * F.lit(2.0**-53)
    drawn = (
        having.join(common, "entry", "left")
        .where(F.col("chance").isNull() | (at < F.col("chance")))
        .select("pair_id", F.lit(1.0).alias(IS_BALANCED))
        .distinct()
    )
    is_free = F.size(draw.entries) == 0
    found = F.when(is_free, 1.0).otherwise(F.coalesce(IS_BALANCED, F.lit(0.0)))
    return pairs.join(drawn, "pair_id", "left").withColumn(IS_BALANCED, found)
