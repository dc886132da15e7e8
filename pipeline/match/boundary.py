"""What a clustered search misses: sampled rows are searched by brute force among all others."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.match.alike import close_pairs
from pipeline.match.clustered import COPIES, Members, first_shared, members_of, pair_batch

_NOWHERE = np.iinfo(np.int32).max
PAIRS = f"{COPIES}, is_shared boolean"


class Recall(NamedTuple):
    """pairs: those of the sampled rows. shared: those of them that share a cluster."""

    pairs: int
    shared: int

    @property
    def share(self) -> float:
        return self.shared / self.pairs if self.pairs else 1.0


def near_sample(rows: DataFrame, threshold: float, sampled: int, seed: int) -> DataFrame:
    """Pairs of a sampled row of ASSIGNED and any other whose cosine is at least `threshold`.

    Each unordered pair once, as rows of PAIRS; is_shared says whether the two share a cluster.
    Cost: sampled x rows cosines, in Spark tasks.
    """
    finite = rows.where(F.size("clusters") > 0)
    order = F.xxhash64("content_id", F.lit(seed))
    chosen = finite.orderBy(order, "content_id").limit(sampled).toArrow().combine_chunks()
    queries = [members_of(batch) for batch in chosen.to_batches() if batch.num_rows]
    work = partial(_near, queries=queries, threshold=threshold)
    return finite.mapInArrow(work, PAIRS)


def recall(pairs: DataFrame) -> Recall:
    """How many of the pairs of `near_sample` share a cluster."""
    counted = pairs.agg(
        F.count("*").alias("pairs"), F.count(F.when(F.col("is_shared"), 1)).alias("shared")
    ).first()
    assert counted is not None  # an aggregate without groups has one row
    return Recall(counted["pairs"], counted["shared"])


def _near(
    batches: Iterator[pa.RecordBatch], queries: list[Members], threshold: float
) -> Iterator[pa.RecordBatch]:
    asked = {tuple(ids) for query in queries for ids in query.ids.tolist()}
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = members_of(batch)
        is_asked = np.array([tuple(ids) in asked for ids in rows.ids.tolist()])
        for query in queries:
            for pairs in close_pairs(query.vectors, rows.vectors, threshold):
                a, b = query.ids[pairs.left], rows.ids[pairs.right]
                is_less = (a[:, 0] < b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] < b[:, 1]))
                is_same = (a == b).all(axis=1)
                once = ~is_same & (is_less | ~is_asked[pairs.right])
                shared = first_shared(query.clusters[pairs.left], rows.clusters[pairs.right])
                found = pair_batch(a[once], b[once], pairs.similarity[once])
                is_shared = pa.array(shared[once] != _NOWHERE)
                yield found.append_column("is_shared", is_shared)
