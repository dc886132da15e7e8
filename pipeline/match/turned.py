"""Mirrored and turned copies: hashes as if turned, met with the upright ones."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.match.blocks import BlockPlan
from pipeline.match.candidates import candidate_pairs
from pipeline.match.verify import PAIR_COLUMNS, pair_side

_EITHER_WAY = (("hash_a", "hash_b"), ("hash_b", "hash_a"))


def turned_nodes(nodes: DataFrame, first_sideways: int) -> DataFrame:
    """Each node as it would be turned: fingerprint, hash64, hash256, aspect; a row per turn.

    nodes: fingerprint, turned64, turned256 and aspect. first_sideways: the first turn, in the order
    of the two lists, that exchanges width and height; all after it do too.
    """
    turns = F.posexplode(F.arrays_zip("turned64", "turned256")).alias("turn", "turned")
    is_sideways = F.col("turn") >= first_sideways
    return nodes.select("fingerprint", "aspect", turns).select(
        "fingerprint",
        F.col("turned.turned64").alias("hash64"),
        F.col("turned.turned256").alias("hash256"),
        F.when(is_sideways, 1 / F.col("aspect")).otherwise(F.col("aspect")).alias("aspect"),
    )


def query_pairs(
    queries: DataFrame, hashes: DataFrame, plan: BlockPlan, bucket_cap: int, tasks: int
) -> DataFrame:
    """Pairs of a query, hash_a, and a hash, hash_b, within the plan's radius, each once; distance
    in bits, 0 for a query that is among the hashes.

    queries, hashes: one long column, hash64, without repeats. Cost: a search of both together.
    """
    pairs = candidate_pairs(queries.union(hashes).distinct(), plan, bucket_cap, tasks)
    # Both ways round, by one search.
    sides = [F.struct(F.col(a).alias("hash_a"), F.col(b).alias("hash_b")) for a, b in _EITHER_WAY]
    either = pairs.select(F.explode(F.array(*sides)).alias("pair"), "distance")
    asked, known = (
        queries.withColumnRenamed("hash64", "hash_a"),
        hashes.withColumnRenamed("hash64", "hash_b"),
    )
    close = either.select("pair.*", "distance").join(asked, "hash_a").join(known, "hash_b")
    equal = asked.join(known, F.col("hash_a") == F.col("hash_b")).withColumn("distance", F.lit(0))
    return close.unionByName(equal)


def turned_pairs(turned: DataFrame, nodes: DataFrame, pairs: DataFrame) -> DataFrame:
    """Candidate pairs of a turned node (side a) and an upright one (side b), for `verify`.

    pairs: hash_a of the turned, hash_b of the upright, distance. The same two pictures may meet
    under several turns, and from either side. A picture that looks like its own mirror image is no
    pair with itself.
    """
    met = pairs.join(pair_side(turned, "a"), "hash_a").join(pair_side(nodes, "b"), "hash_b")
    return met.where(F.col("fingerprint_a") != F.col("fingerprint_b")).select(*PAIR_COLUMNS)


def new_edges(judged: DataFrame, edges: DataFrame) -> DataFrame:
    """Of the accepted pairs, those that are no edge yet, each once by its nearest turn.

    judged: VERIFIED_SCHEMA. edges: fingerprint_a, fingerprint_b.
    """
    pair = ["fingerprint_a", "fingerprint_b"]
    nearest = F.min(F.struct("distance", "distance256")).alias("nearest")
    accepted = judged.where(F.col("reason").isNull()).groupBy(*pair).agg(nearest)
    return accepted.join(edges.select(*pair), pair, "left_anti").select(*pair, "nearest.*")
