"""Which of near-duplicate pictures stays: a greedy independent set in order of priority.

Go through the pictures from the best to the worst and keep one unless a kept one is its neighbour.
So every dropped picture has a better kept neighbour, no two kept ones are neighbours, and the
result depends on the priorities alone. Released pictures come before all others: what is a
neighbour of one gives way to it and takes no part in the rest.

Cost: rounds of joins over the edges that are still undecided. A round settles all pictures that no
better undecided one stands beside, so there are half as many as the longest chain of neighbours
with falling priority is long, until few enough edges are left for the driver.
Source: the lexicographically first maximal independent set, and its parallel rounds: Blelloch,
Fineman, Shun, "Greedy Sequential Maximal Independent Set and Matching are Parallel on Average",
SPAA 2012.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.core.reasons import MatchRule
from pipeline.core.spark import cut, hold

# Best first: more pixels, more bytes, higher similarity (all stored negated), then the id.
PRIORITY = ("neg_pixels", "neg_bytes", "neg_similarity", "image_id")

_FINGERPRINT_SCHEMA = "fingerprint binary"


def greedy_dropped(better: Sequence[int], worse: Sequence[int], nodes: int) -> bytearray:
    """Who is dropped: one byte per node, 1 for dropped. Linear in the edges.

    better, worse: the two nodes of each edge, 0 to nodes - 1, ordered by the priority of `better`,
        best first. All edges into a node from better ones then come before those out of it.
    """
    dropped = bytearray(nodes)
    for winner, loser in zip(better, worse, strict=True):
        if not dropped[winner]:
            dropped[loser] = 1
    return dropped


def kept_by_priority(
    rank: npt.NDArray[np.int64], a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Who is kept among nodes with distinct ranks (0 is best), given edges between a and b."""
    a_wins = rank[a] < rank[b]
    better, worse = np.where(a_wins, a, b), np.where(a_wins, b, a)
    order = np.argsort(rank[better], kind="stable")
    dropped = greedy_dropped(better[order].tolist(), worse[order].tolist(), len(rank))
    kept: npt.NDArray[np.bool_] = np.frombuffer(dropped, dtype=np.uint8) == 0
    return kept


def priority() -> Column:
    """A struct that orders rows of the pair view best first. NaN similarity counts as the worst."""
    pixels = F.col("original_width").cast("long") * F.col("original_height").cast("long")
    similarity = F.nanvl(F.col("clip_similarity").cast("double"), F.lit(-2.0))
    return F.struct(
        (-pixels).alias("neg_pixels"),
        (-F.col("body_bytes")).alias("neg_bytes"),
        # Not a negation: it would tell 0.0 from -0.0.
        (F.lit(0.0) - similarity).alias("neg_similarity"),
        F.col("image_id"),
    )


def all_edges(neighbors: DataFrame, copies: DataFrame) -> DataFrame:
    """The edges of both tables: fingerprint_a, fingerprint_b, distance (null for copies),
    similarity (null for the others), rule. A pair that is in both has two rows.
    """
    ends = ("fingerprint_a", "fingerprint_b")
    hashed = neighbors.select(
        *ends, "distance", F.lit(None).cast("float").alias("similarity"), "rule"
    )
    copied = copies.select(
        *ends,
        F.lit(None).cast("int").alias("distance"),
        "similarity",
        F.lit(MatchRule.COPY.value).alias("rule"),
    )
    return hashed.unionByName(copied)


def directed(edges: DataFrame, champions: DataFrame) -> DataFrame:
    """Edges between champions, from the better to the worse.

    edges: of `all_edges`. champions: fingerprint, priority. Columns of the result: better, worse
    (fingerprints), priority (of better), evidence (a struct, the surest first: is_copy, distance,
    rule, similarity). Edges with an end that has no champion are left out.
    """
    a = champions.select(F.col("fingerprint").alias("fingerprint_a"), F.col("priority").alias("p"))
    b = champions.select(F.col("fingerprint").alias("fingerprint_b"), F.col("priority").alias("q"))
    known = edges.join(a, "fingerprint_a").join(b, "fingerprint_b")
    a_wins = F.struct(
        F.col("fingerprint_a").alias("better"),
        F.col("fingerprint_b").alias("worse"),
        F.col("p").alias("priority"),
    )
    b_wins = F.struct(
        F.col("fingerprint_b").alias("better"),
        F.col("fingerprint_a").alias("worse"),
        F.col("q").alias("priority"),
    )
    direction = F.when(F.col("p") < F.col("q"), a_wins).otherwise(b_wins).alias("edge")
    is_copy = F.col("distance").isNull().alias("is_copy")
    evidence = F.struct(is_copy, "distance", "rule", "similarity").alias("evidence")
    return known.select(direction, evidence).select("edge.*", "evidence")


def dropped_fingerprints(edges: DataFrame, driver_edges: int) -> DataFrame:
    """The fingerprints that the greedy rule drops: one column, fingerprint, without repeats.

    edges: of `directed`.
    driver_edges: once no more edges than this are undecided, the driver decides the rest in one
        pass (about 100 bytes and a microsecond each); before that, rounds in Spark.
    """
    spark = edges.sparkSession
    undecided = edges.select("better", "worse", "priority")
    dropped: list[DataFrame] = []
    while undecided.count() > driver_edges:
        undecided, lost = _round(undecided)
        dropped.append(lost)
    dropped.append(spark.createDataFrame(_decided_here(undecided), _FINGERPRINT_SCHEMA))
    together = dropped[0]
    for more in dropped[1:]:
        together = together.unionByName(more)
    return together


def owners(edges: DataFrame, dropped: DataFrame) -> DataFrame:
    """The best kept neighbour of each dropped fingerprint.

    edges: of `directed`. Columns: fingerprint, representative (image_id of the neighbour's
    champion), distance, similarity and rule of the surest edge between them.
    """
    losers = dropped.select(F.col("fingerprint").alias("worse"))
    losing_winners = dropped.select(F.col("fingerprint").alias("better"))
    kept = edges.join(losers, "worse", "left_semi").join(losing_winners, "better", "left_anti")
    best = F.min(F.struct("priority", "evidence")).alias("best")
    return (
        kept.groupBy(F.col("worse").alias("fingerprint"))
        .agg(best)
        .select(
            "fingerprint",
            F.col("best.priority.image_id").alias("representative"),
            "best.evidence.distance",
            "best.evidence.similarity",
            "best.evidence.rule",
        )
    )


def represented(
    passing: DataFrame,
    edges: DataFrame,
    released: DataFrame,
    driver_edges: int,
    held: ExitStack,
) -> DataFrame:
    """What every picture gives way to that does not stand for itself.

    passing: fingerprint, image_id, priority of the pairs to choose among. edges: of `all_edges`.
    released: of RELEASED_NEIGHBORS. driver_edges: as `dropped_fingerprints`. held: is closed when
    the result is not needed any more.

    One row per fingerprint that gives way, or that several images share: fingerprint,
    representative (image_id of the picture that stands for it: one of them, of a neighbour, or of
    an earlier release), distance, similarity, rule, is_released.
    """
    gone = released.select(
        "fingerprint",
        F.col("released_image_id").alias("representative"),
        "distance",
        F.lit(None).cast("float").alias("similarity"),
        F.lit(MatchRule.RELEASED.value).alias("rule"),
        F.lit(True).alias("is_released"),
    )
    champions = hold(
        passing.join(released.select("fingerprint"), "fingerprint", "left_anti")
        .groupBy("fingerprint")
        .agg(
            F.min("priority").alias("priority"),
            (F.min("image_id") != F.max("image_id")).alias("has_rivals"),
        ),
        held,
    )
    chosen = hold(directed(edges, champions), held)
    dropped = dropped_fingerprints(chosen, driver_edges)
    owned = owners(chosen, dropped)
    # Within a fingerprint that gives way to nobody the best image stands for the others.
    shared = (
        champions.where("has_rivals")
        .join(dropped, "fingerprint", "left_anti")
        .select(
            "fingerprint",
            F.col("priority.image_id").alias("representative"),
            F.lit(0).alias("distance"),
            F.lit(None).cast("float").alias("similarity"),
            F.lit(MatchRule.SAME_FINGERPRINT.value).alias("rule"),
        )
    )
    here = owned.unionByName(shared).withColumn("is_released", F.lit(False))
    return here.unionByName(gone)


def _round(edges: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Keep who has no better undecided neighbour, drop their neighbours; edges left, dropped.

    A node that is in no edge any more is kept: only the dropped ones need to be named.
    Both results are cut from their history, so that plans do not grow with the rounds.
    """
    losers = edges.select(F.col("worse").alias("better")).distinct()
    winners = edges.select("better").distinct().join(losers, "better", "left_anti")
    dropped = cut(
        edges.join(winners, "better", "left_semi")
        .select(F.col("worse").alias("fingerprint"))
        .distinct()
    )
    left = edges
    for end in ("better", "worse"):
        left = left.join(dropped.withColumnRenamed("fingerprint", end), end, "left_anti")
    return cut(left.select("better", "worse", "priority")), dropped


def _decided_here(edges: DataFrame) -> pa.Table:
    """The dropped fingerprints of the last edges, decided on the driver."""
    rows = edges.select("better", "worse", "priority.*").toArrow()
    rows = rows.sort_by([(name, "ascending") for name in PRIORITY])
    better, worse = rows.column("better"), rows.column("worse")
    codes = pa.chunked_array([*better.chunks, *worse.chunks], pa.binary()).combine_chunks()
    codes = codes.dictionary_encode()
    numbers = codes.indices.to_pylist()
    dropped = greedy_dropped(
        numbers[: rows.num_rows], numbers[rows.num_rows :], len(codes.dictionary)
    )
    chosen = codes.dictionary.filter(pa.array(np.frombuffer(dropped, dtype=np.uint8) == 1))
    return pa.table({"fingerprint": chosen})
