"""Candidates in Spark: all pairs of distinct 64-bit hashes within the radius, each once."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.match.blocks import MAX_TABLES, U64, BlockPlan

# Rows handed to the kernel at once: enough to make its passes long, 16 bytes each.
_CHUNK_ROWS = 1 << 18

PAIRS_SCHEMA = "hash_a long, hash_b long, distance int"


def candidate_pairs(hashes: DataFrame, plan: BlockPlan, bucket_cap: int, tasks: int) -> DataFrame:
    """Pairs of hashes within the plan's radius: hash_a < hash_b (as signed), distance in bits.

    hashes: one long column, hash64, without repeats.
    bucket_cap: rows of a bucket above which it is cut again.
    tasks: partitions the buckets are spread over.
    A row of the shuffle is 16 bytes: a bucket's number and a hash. One long column to sort by
    lets Spark sort by radix.
    """
    signed = [int(mask) for mask in plan.mask_array.view(np.int64)]
    tables = F.array(*[F.lit(mask).cast("long") for mask in signed])
    rows = hashes.select("hash64", F.posexplode(tables).alias("table", "mask"))
    key = F.xxhash64("table", F.col("hash64").bitwiseAND(F.col("mask")))
    bucket = key.bitwiseAND(F.lit(-MAX_TABLES).cast("long")).bitwiseOR(F.col("table").cast("long"))
    return (
        rows.select(bucket.alias("bucket"), "hash64")
        .repartition(tasks, "bucket")
        .sortWithinPartitions("bucket")
        .mapInArrow(partial(search_sorted, plan=plan, bucket_cap=bucket_cap), PAIRS_SCHEMA)
    )


def search_sorted(
    batches: Iterator[pa.RecordBatch], plan: BlockPlan, bucket_cap: int
) -> Iterator[pa.RecordBatch]:
    """One partition: batches of (bucket, hash64) sorted by bucket, in; pairs, out.

    A bucket may span batches: its rows are carried over until it is whole. Memory: one chunk, or
    the largest bucket.
    """
    import faiss

    from pipeline.match.kernel import search_buckets

    faiss.omp_set_num_threads(1)  # Spark already runs one task per core
    for buckets, hashes in _whole_buckets(batches):
        signed = hashes.view(np.int64)
        for pairs in search_buckets(buckets, hashes, plan, bucket_cap):
            left, right = signed[pairs.left], signed[pairs.right]
            yield pair_batch(left, right, pairs.distance)


def pair_batch(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], distance: npt.NDArray[np.int32]
) -> pa.RecordBatch:
    """Pairs of hashes as rows, the smaller first."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.minimum(left, right)),
            pa.array(np.maximum(left, right)),
            pa.array(distance, pa.int32()),
        ],
        names=["hash_a", "hash_b", "distance"],
    )


def column(batch: pa.RecordBatch, name: str) -> U64:
    """A long column as uint64, without a copy where Arrow allows it."""
    values: npt.NDArray[np.int64] = batch.column(name).to_numpy(zero_copy_only=False)
    return values.view(np.uint64)


def _whole_buckets(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[U64, U64]]:
    """Chunks of some size that never end inside a bucket."""
    held: list[tuple[U64, U64]] = []
    rows, enough = 0, _CHUNK_ROWS
    for batch in batches:
        held.append((column(batch, "bucket"), column(batch, "hash64")))
        rows += batch.num_rows
        if rows < enough:
            continue
        buckets, hashes = _concatenated(held)
        cut = int(np.searchsorted(buckets.view(np.int64), buckets.view(np.int64)[-1]))
        if cut:
            yield buckets[:cut], hashes[:cut]
        held, rows = [(buckets[cut:], hashes[cut:])], len(buckets) - cut
        enough = max(_CHUNK_ROWS, 2 * rows)  # a giant bucket is not copied with every batch
    if rows:
        yield _concatenated(held)


def _concatenated(held: list[tuple[U64, U64]]) -> tuple[U64, U64]:
    return np.concatenate([b for b, _ in held]), np.concatenate([h for _, h in held])
