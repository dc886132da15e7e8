"""Pictures with captions of other pictures, of the same language: what similarity means nothing.

Cost: one count of the pairs by language, one pass over them, and a sort of the sample.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

# The sample is taken by hash, so it is only about as large as asked for. Ten standard deviations
# of a binomial count over it, there are enough.
_SPARE = 10


def null_pairs(pairs: DataFrame, per_language: int, seed: int) -> DataFrame:
    """A sample of pairs, each with the caption of the next one in an order by seeded hash.

    pairs: pair_id, lang, content_id (of the picture) and caption, a row for each.
    per_language: at most so many of each language; a language of one picture has none.
    Gives lang, pair_id, caption_pair_id, content_id and caption (the other pair's). Where the next
    pair is of the same picture, or has the same caption, the row is left out.
    """
    grid = 1 << 32
    order = F.xxhash64(F.lit(seed), "pair_id")
    counted = pairs.groupBy("lang").agg(F.count("*").alias("count"))
    wanted = per_language + _SPARE * F.sqrt(F.lit(per_language)) + _SPARE
    share = F.least(wanted / F.col("count"), F.lit(1.0))
    chosen = (
        pairs.withColumn("chance", order)
        .join(F.broadcast(counted), "lang")
        .where(F.pmod("chance", F.lit(grid)) < share * F.lit(grid))
    )
    by_chance = Window.partitionBy("lang").orderBy("chance", "pair_id")
    first = by_chance.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    other = F.struct("pair_id", "content_id", "caption")
    shifted = (
        chosen.withColumn("place", F.row_number().over(by_chance))
        .withColumn("next", F.coalesce(F.lead(other).over(by_chance), F.first(other).over(first)))
        .where(F.col("place") <= per_language)
    )
    is_other = (F.col("next.content_id") != F.col("content_id")) & (
        F.col("next.caption") != F.col("caption")
    )
    return shifted.where(is_other).select(
        "lang",
        "pair_id",
        F.col("next.pair_id").alias("caption_pair_id"),
        "content_id",
        F.col("next.caption").alias("caption"),
    )
