"""Mirrored and turned copies: hashes as if turned, met with the upright ones."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def turned_nodes(pictures: DataFrame, min_texture: int, first_sideways: int) -> DataFrame:
    """Each searched fingerprint as it would be turned, a row per turn: fingerprint, hash64, hash256
    and aspect.

    pictures: rows of `images` that are ok, with turned hashes. min_texture: as the nodes have it,
    of the flattest picture of a fingerprint. first_sideways: the first turn, in the order of the
    two lists, that exchanges width and height; all after it do too.
    """
    aspect = F.min(F.col("original_width") / F.col("original_height")).alias("aspect")
    hashes = F.max(F.struct("turned64", "turned256")).alias("turned")
    nodes = pictures.groupBy("fingerprint").agg(aspect, F.min("texture").alias("texture"), hashes)
    turns = F.posexplode(F.arrays_zip("turned.turned64", "turned.turned256")).alias("turn", "hash")
    is_sideways = F.col("turn") >= first_sideways
    return (
        nodes.where(F.col("texture") >= min_texture)
        .select("fingerprint", "aspect", turns)
        .select(
            "fingerprint",
            F.col("hash.turned64").alias("hash64"),
            F.col("hash.turned256").alias("hash256"),
            F.when(is_sideways, 1 / F.col("aspect")).otherwise(F.col("aspect")).alias("aspect"),
        )
    )


def turned_halves(turned: DataFrame, pairs: DataFrame) -> DataFrame:
    """Pairs of a turned hash, hash_a, and an upright one, each with every turned node of it: the
    columns of `nodes.HALF`. The same two pictures may meet under several turns, and from either
    side."""
    sides = turned.select(
        F.col("hash64").alias("hash_a"),
        *(F.col(name).alias(f"{name}_a") for name in ("fingerprint", "hash256", "aspect")),
    )
    return pairs.join(sides, "hash_a").drop("hash_a")


def new_edges(judged: DataFrame, edges: DataFrame) -> DataFrame:
    """Of the accepted pairs, those that are no edge yet, each once by its nearest turn.

    judged: VERIFIED_SCHEMA. edges: fingerprint_a, fingerprint_b.
    """
    pair = ["fingerprint_a", "fingerprint_b"]
    nearest = F.min(F.struct("distance", "distance256")).alias("nearest")
    accepted = judged.where(F.col("reason").isNull()).groupBy(*pair).agg(nearest)
    return accepted.join(edges.select(*pair), pair, "left_anti").select(*pair, "nearest.*")
