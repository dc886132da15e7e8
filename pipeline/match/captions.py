"""Which captions a picture keeps, its own and those of the near-duplicates that gave way to it."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

# Of a group, only the captions that fit best are compared with each other: the most unlike ones of
# thousands would be the junk among them, and the work stays bounded.
POOL = 100
_GRAM = 3
_PLACES = "pair_id binary, place long"


def grams(caption: str) -> frozenset[str]:
    """The runs of three characters of a caption, without regard to case and spacing.

    Ends count as a space, so that short words and captions have some too; an empty caption has
    none.
    """
    text = f" {' '.join(caption.casefold().split())} "
    return frozenset(text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1))


def diverse_order(captions: Sequence[str], most: int) -> list[int]:
    """All positions of the captions, first `most` of captions that are unlike each other.

    The first one stays first; then always comes the caption whose greatest resemblance to one
    before it is least, of several the one that was given first. The others follow as they were
    given. Cost: `most` times the captions.

    Resemblance is the Jaccard index of the sets of `grams`, 0 to 1.
    Source: Broder, "On the resemblance and containment of documents", 1997, with characters for
    words, as PostgreSQL's pg_trgm does; the order is the farthest-first traversal of Gonzalez,
    "Clustering to minimize the maximum intercluster distance", 1985.
    """
    sets = [grams(caption) for caption in captions]
    nearest = [0.0] * len(sets)
    left = list(range(len(sets)))
    order: list[int] = []
    while left and len(order) < most:
        chosen = min(left, key=lambda i: nearest[i])
        left.remove(chosen)
        order.append(chosen)
        for i in left:
            nearest[i] = max(nearest[i], _jaccard(sets[i], sets[chosen]))
    return order + left


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    shared = len(a & b)
    whole = len(a) + len(b) - shared
    return shared / whole if whole else 1.0


def rank_in_groups(pairs: DataFrame, most: int, is_diverse: bool) -> DataFrame:
    """Rank the captions of each group of near-duplicates.

    pairs: pair_id, group_id, caption, is_own (its picture stands for the group), is_eligible (it
        may be released), neg_similarity; other columns are kept.
    most: how many will be kept; with is_diverse they are unlike each other (`diverse_order` of the
        `POOL` best), else the best by similarity, then by pair_id.

    Adds is_first (of the eligible pairs of its group that have this caption it is the one that
    may be kept: the own one, else the best) and caption_rank (long, from 0, among those; what is
    not among them comes after). Cost: one shuffle of the pairs by group; with is_diverse captions
    of groups with more than `most` go through Python.
    """
    best = (~F.col("is_eligible"), F.col("neg_similarity"), F.col("pair_id"))
    group = Window.partitionBy("group_id")
    same_caption = Window.partitionBy("group_id", "caption")
    own_first = same_caption.orderBy(best[0], ~F.col("is_own"), *best[1:])
    is_first = F.col("is_eligible") & (F.row_number().over(own_first) == 1)
    by_rank = group.orderBy(~F.col("is_first"), *best)
    ranked = (
        pairs.repartition("group_id")
        .withColumn("is_first", is_first)
        .withColumn("caption_rank", (F.row_number().over(by_rank) - 1).cast("long"))
    )
    if not is_diverse:
        return ranked
    ranked = ranked.withColumn("_distinct", F.count_if("is_first").over(group))
    pool = ranked.where(
        F.col("is_first") & (F.col("_distinct") > most) & (F.col("caption_rank") < max(most, POOL))
    )
    choices = pool.groupBy("group_id").agg(
        F.array_sort(F.collect_list(F.struct("caption_rank", "pair_id", "caption"))).alias("choice")
    )
    places = choices.select("choice").mapInArrow(partial(_places, most=most), _PLACES)
    return (
        ranked.drop("_distinct")
        .join(places, "pair_id", "left")
        .withColumn("caption_rank", F.coalesce("place", "caption_rank"))
        .drop("place")
    )


def _places(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """pair_id and place in `diverse_order` of the captions of every group."""
    for batch in batches:
        ids: list[bytes] = []
        places: list[int] = []
        for choice in batch.column("choice").to_pylist():
            for place, i in enumerate(diverse_order([one["caption"] for one in choice], most)):
                ids.append(choice[i]["pair_id"])
                places.append(place)
        yield pa.RecordBatch.from_arrays(
            [pa.array(ids, pa.binary()), pa.array(places, pa.int64())], names=["pair_id", "place"]
        )
