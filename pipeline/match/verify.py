"""The second opinion on a candidate: the 256-bit hash and the shape must agree too."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.errors import ContractError
from pipeline.core.reasons import MatchReason
from pipeline.match.blocks import U64

HASH256_BYTES = 32
# What is compared of the two sides of a candidate pair.
_COMPARED = ("fingerprint", "hash256", "aspect")
PAIR_COLUMNS = (*(f"{name}_{side}" for side in "ab" for name in _COMPARED), "distance")
VERIFIED_SCHEMA = (
    "fingerprint_a binary, fingerprint_b binary, distance int, distance256 int, reason string"
)


def node_pairs(nodes: DataFrame, pairs: DataFrame, has_equal_hashes: bool) -> DataFrame:
    """Candidate pairs of nodes: those of close hashes, and those that share a hash.

    nodes: fingerprint, hash64, hash256, aspect. pairs: hash_a, hash_b, distance.
    has_equal_hashes: whether some hash64 has several nodes; False saves a join.
    """
    a, b = pair_side(nodes, "a"), pair_side(nodes, "b")
    close = pairs.join(a, "hash_a").join(b, "hash_b").select(*PAIR_COLUMNS)
    if not has_equal_hashes:
        return close
    same = a.join(b, (a["hash_a"] == b["hash_b"]) & (a["fingerprint_a"] < b["fingerprint_b"]))
    return close.unionByName(same.withColumn("distance", F.lit(0)).select(*PAIR_COLUMNS))


def pair_side(nodes: DataFrame, side: str) -> DataFrame:
    """Nodes with the names they have as side "a" or "b" of a pair: hash_a, fingerprint_a, ..."""
    return nodes.select(
        F.col("hash64").alias(f"hash_{side}"), *[F.col(c).alias(f"{c}_{side}") for c in _COMPARED]
    )


def verify(
    batches: Iterator[pa.RecordBatch], radius256: int, aspect_tolerance: float
) -> Iterator[pa.RecordBatch]:
    """Judge candidate pairs; `reason` is null for an edge, else the first check that fails.

    Rows of `node_pairs` in, rows of VERIFIED_SCHEMA out, fingerprint_a the smaller.
    radius256: largest accepted distance of hash256, in bits.
    aspect_tolerance: how much wider, relative to its height, one may be than the other: 0.1 = 10%.
    """
    for batch in batches:
        distance256 = hash256_distance(batch.column("hash256_a"), batch.column("hash256_b"))
        a = batch.column("aspect_a").to_numpy(zero_copy_only=False)
        b = batch.column("aspect_b").to_numpy(zero_copy_only=False)
        has_shape = np.maximum(a, b) <= np.minimum(a, b) * (1 + aspect_tolerance)
        reasons = np.full(batch.num_rows, None, dtype=object)
        reasons[~has_shape] = str(MatchReason.SHAPE_DIFFERS)
        reasons[distance256 > radius256] = str(MatchReason.HASH256_DIFFERS)
        first, second = _ordered(batch.column("fingerprint_a"), batch.column("fingerprint_b"))
        yield pa.RecordBatch.from_arrays(
            [
                first,
                second,
                batch.column("distance"),
                pa.array(distance256, pa.int32()),
                pa.array(reasons, pa.string()),
            ],
            names=["fingerprint_a", "fingerprint_b", "distance", "distance256", "reason"],
        )


def hash256_distance(a: pa.Array, b: pa.Array) -> npt.NDArray[np.int32]:
    """Hamming distances of two binary columns of 32-byte values, in bits, int32.

    Raises ContractError when a value has another length.
    """
    differing = _words(a) ^ _words(b)
    distance: npt.NDArray[np.int32] = np.bitwise_count(differing).sum(axis=1, dtype=np.int32)
    return distance


def _words(hashes: pa.Array) -> U64:
    """uint64 [rows, 4]."""
    try:
        fixed = hashes.cast(pa.binary(HASH256_BYTES))
    except pa.ArrowInvalid:
        raise ContractError(f"a hash256 is not {HASH256_BYTES} bytes long") from None
    if fixed.null_count:
        raise ContractError("a hash256 is null")
    words = np.frombuffer(fixed.buffers()[1], dtype=np.uint64).reshape(-1, 4)
    return words[fixed.offset : fixed.offset + len(fixed)]


def _ordered(a: pa.Array, b: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The two columns with the smaller value of each row in the first."""
    pairs = [(x, y) if x < y else (y, x) for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)]
    return pa.array([x for x, _ in pairs], pa.binary()), pa.array(
        [y for _, y in pairs], pa.binary()
    )
