"""The search checks itself: a sample of hashes is searched by brute force in the same job."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.reasons import MatchReason
from pipeline.match.blocks import U64
from pipeline.match.candidates import PAIRS_SCHEMA, column


def audit(hashes: DataFrame, pairs: DataFrame, radius: int, rows: int, seed: int) -> Account:
    """Search `rows` sampled hashes by brute force and look their neighbours up in `pairs`.

    hashes: distinct hash64. pairs: what `candidate_pairs` found in them.
    The account counts the sampled hashes' pairs: kept are those in `pairs`, the rest is `missed`;
    recall is kept / in. Cost: rows x hashes comparisons, in Spark tasks.
    """
    order = F.xxhash64("hash64", F.lit(seed))
    sample = hashes.orderBy(order, "hash64").limit(rows).toArrow().column("hash64").to_numpy()
    queries = np.ascontiguousarray(sample, dtype=np.int64).view(np.uint64)
    truth = hashes.mapInArrow(
        partial(brute_force, queries=queries, radius=radius), PAIRS_SCHEMA
    ).persist()
    true_pairs = truth.count()
    found_pairs = pairs.join(F.broadcast(truth), ["hash_a", "hash_b"], "left_semi").count()
    truth.unpersist()
    account = Account("audited_neighbours")
    account.keep(found_pairs)
    account.drop(MatchReason.MISSED, true_pairs - found_pairs)
    return account


def brute_force(
    batches: Iterator[pa.RecordBatch], queries: U64, radius: int
) -> Iterator[pa.RecordBatch]:
    """Pairs within `radius` of a query and a row of hash64, each once over all batches.

    queries are among the rows: a hash is no pair with itself, and two queries are one pair.
    """
    import faiss

    from pipeline.match.search import flat_search

    faiss.omp_set_num_threads(1)  # Spark already runs one task per core
    for batch in batches:
        met = flat_search(queries, column(batch, "hash64"), radius)
        left, right = met.left.view(np.int64), met.right.view(np.int64)
        once = (left < right) | ((left > right) & ~np.isin(met.right, queries))
        left, right = left[once], right[once]
        yield pa.RecordBatch.from_arrays(
            [np.minimum(left, right), np.maximum(left, right), met.distance[once]],
            names=["hash_a", "hash_b", "distance"],
        )
