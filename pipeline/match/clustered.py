"""Embeddings searched by cluster, in Spark: copies over a threshold, and SemDeDup's measure.

Every row goes to its nearest centroids; rows of a cluster, or of two parts of a large one, meet in
one task (see `cluster_units`) and are compared block by block. Two rows that share no cluster are
never compared: what that loses is for `boundary` to tell.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.tables import ID
from pipeline.core.vectors import unpack, values
from pipeline.match.alike import Rows, close_pairs, max_before
from pipeline.match.centroids import Float32, Ints, assign
from pipeline.match.cluster_units import Plan, Words, part_of, units_of

Order = Literal["hard", "easy", "random"]
Half = npt.NDArray[np.float16]

ASSIGNED = "content_id binary, vector binary, clusters array<int>, similarity float"
_IN_UNITS = f"task int, unit long, {ASSIGNED}"
COPIES = "content_a binary, content_b binary, similarity float"
MAXIMA = "content_id binary, cluster int, centroid_similarity float, semantic_similarity float"


class Members(NamedTuple):
    """Rows of a batch. ids: uint64 [n, 2], which sort as the 16 bytes do. vectors: float32
    [n, width]. clusters: int32 [n, probe]. similarity: float32 [n], to the first of them."""

    ids: Words
    vectors: Float32
    clusters: Ints
    similarity: Float32


def assigned(rows: DataFrame, centroids: Half, probe: int) -> DataFrame:
    """Rows of ASSIGNED: content_id, vector and the nearest clusters of each embedding.

    A vector that is no vector of numbers has no clusters.
    """
    work = partial(_assign, centroids=centroids, probe=probe)
    return rows.select("content_id", "vector").mapInArrow(work, ASSIGNED)


def copies(rows: DataFrame, plan: Plan, threshold: float) -> DataFrame:
    """Pairs of rows of ASSIGNED that share a cluster and whose cosine is at least `threshold`.

    Each unordered pair once, content_a < content_b. A pair that shares several clusters is found in
    the one of the smallest number.
    """
    return _by_unit(rows, plan).mapInArrow(partial(_copies, plan=plan, threshold=threshold), COPIES)


def maxima(rows: DataFrame, plan: Plan, order: Order, seed: int) -> DataFrame:
    """Of each row of ASSIGNED, the largest cosine to a row of its (first) cluster that comes before
    it, -1 for the first row.

    order: "hard" is by rising similarity to the centroid, so that of two alike the one farther from
    it stays, "easy" by falling, "random" by a seeded hash of the id; ties by id.
    Source: SemDeDup (Abbas et al. 2023, arXiv:2303.09540), section 3 and appendix on what to keep.
    """
    work = partial(_maxima, plan=plan, order=order, seed=seed)
    found = _by_unit(rows, plan).mapInArrow(work, MAXIMA)
    if plan.parts.max(initial=1) == 1:
        return found
    return found.groupBy("content_id").agg(
        F.min("cluster").alias("cluster"),
        F.min("centroid_similarity").alias("centroid_similarity"),
        F.max("semantic_similarity").alias("semantic_similarity"),
    )


def _by_unit(rows: DataFrame, plan: Plan) -> DataFrame:
    """Each row as often as it is needed, in its tasks, sorted by unit."""
    needed = rows.where(F.size("clusters") > 0).mapInArrow(partial(_spread, plan=plan), _IN_UNITS)
    return needed.repartitionById(max(plan.tasks, 1), "task").sortWithinPartitions("unit")


def _assign(
    batches: Iterator[pa.RecordBatch], centroids: Half, probe: int
) -> Iterator[pa.RecordBatch]:
    import faiss

    faiss.omp_set_num_threads(1)  # Spark already runs one task per core
    wide = centroids.astype(np.float32)
    for batch in batches:
        if not batch.num_rows:
            continue
        vectors = unpack(batch.column("vector"))
        is_finite = np.isfinite(vectors).all(axis=1)
        found = assign(np.ascontiguousarray(vectors[is_finite]), wide, probe)
        counts = np.where(is_finite, found.clusters.shape[1], 0)
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        nearest = np.full(batch.num_rows, np.nan, np.float32)
        nearest[is_finite] = found.similarity[:, 0]
        columns = [
            batch.column("content_id"),
            batch.column("vector"),
            pa.ListArray.from_arrays(pa.array(ends), pa.array(found.clusters.ravel())),
            pa.array(nearest),
        ]
        names = ["content_id", "vector", "clusters", "similarity"]
        yield pa.RecordBatch.from_arrays(columns, names=names)


def _spread(batches: Iterator[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if not batch.num_rows:
            continue
        members = members_of(batch)
        rows, units = units_of(members.ids, members.clusters, plan)
        # A row of a giant cluster is copied often: not all copies at once.
        for i in range(0, len(rows), batch.num_rows):
            chosen = batch.take(pa.array(rows[i : i + batch.num_rows]))
            unit = units[i : i + batch.num_rows]
            columns = [pa.array(plan.task[unit]), pa.array(unit), *chosen.columns]
            yield pa.RecordBatch.from_arrays(columns, names=["task", "unit", *batch.schema.names])


def _copies(
    batches: Iterator[pa.RecordBatch], plan: Plan, threshold: float
) -> Iterator[pa.RecordBatch]:
    for unit, members in _units(batches):
        cluster = plan.cluster[unit]
        left, right = _sides(members, unit, plan)
        other = left if right is None else right
        others = None if right is None else members.vectors[right]
        for pairs in close_pairs(members.vectors[left], others, threshold):
            a, b = left[pairs.left], other[pairs.right]
            is_first = first_shared(members.clusters[a], members.clusters[b]) == cluster
            yield pair_batch(
                members.ids[a[is_first]], members.ids[b[is_first]], pairs.similarity[is_first]
            )


def _maxima(
    batches: Iterator[pa.RecordBatch], plan: Plan, order: Order, seed: int
) -> Iterator[pa.RecordBatch]:
    for unit, members in _units(batches):
        rank = in_order(members.ids, members.similarity, order, seed)
        sides = _sides(members, unit, plan)
        left, right = (None if s is None else s[np.argsort(rank[s])] for s in sides)
        assert left is not None
        best = np.full(len(rank), -1.0)
        for rows, others in ((left, left),) if right is None else ((left, right), (right, left)):
            before = np.searchsorted(rank[others], rank[rows])
            best[rows] = max_before(members.vectors[rows], members.vectors[others], before)
        columns = [
            as_ids(members.ids),
            pa.array(np.full(len(rank), plan.cluster[unit], np.int32)),
            pa.array(members.similarity),
            pa.array(best.astype(np.float32)),
        ]
        names = ["content_id", "cluster", "centroid_similarity", "semantic_similarity"]
        yield pa.RecordBatch.from_arrays(columns, names=names)


def in_order(ids: Words, similarity: Float32, order: Order, seed: int) -> Rows:
    """The place of each row, from 0, in SemDeDup's order (see `maxima`)."""
    keys: npt.NDArray[np.generic] = similarity
    if order == "easy":
        keys = -similarity
    elif order == "random":
        # Source: SplitMix64's finaliser (Steele, Lea, Flood 2014).
        mixed = ids[:, 0] + np.uint64(seed * 0x9E3779B97F4A7C15 % (1 << 64))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = mixed ^ (mixed >> np.uint64(31))
    rank = np.empty(len(ids), np.int64)
    rank[np.lexsort((ids[:, 1], ids[:, 0], keys))] = np.arange(len(ids))
    return rank


def first_shared(a: Ints, b: Ints) -> Ints:
    """The smallest cluster that both rows of a pair have: int32 [n]; the largest int32 if none.

    a, b: int32 [n, probe].
    """
    shared = (a[:, :, None] == b[:, None, :]).any(axis=2)
    found: Ints = np.where(shared, a, np.iinfo(np.int32).max).min(axis=1)
    return found


def _sides(members: Members, unit: int, plan: Plan) -> tuple[Rows, Rows | None]:
    """Rows of the unit's two parts; None for the second where it is the first one again."""
    cluster, left, right = plan.cluster[unit], plan.left[unit], plan.right[unit]
    parts = np.full(len(members.ids), plan.parts[cluster], np.int32)
    part = part_of(members.ids, parts)
    other = None if left == right else np.flatnonzero(part == right)
    return np.flatnonzero(part == left), other


def _units(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, Members]]:
    """Whole units out of batches sorted by unit. Memory: one unit, and a batch."""
    held: list[pa.RecordBatch] = []
    current = -1
    for batch in batches:
        units = batch.column("unit").to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(units)) + 1).tolist(), len(units)]
        for low, high in pairwise(cuts):
            if low == high:
                continue
            if units[low] != current and held:
                yield current, _joined(held)
                held = []
            current = int(units[low])
            held.append(batch.slice(low, high - low))
    if held:
        yield current, _joined(held)


def _joined(held: list[pa.RecordBatch]) -> Members:
    return Members(*map(np.concatenate, zip(*map(members_of, held), strict=True)))


def members_of(batch: pa.RecordBatch) -> Members:
    """Rows of ASSIGNED, all of which have as many clusters."""
    return Members(
        words(batch.column("content_id")),
        unpack(batch.column("vector")),
        batch.column("clusters").flatten().to_numpy().reshape(batch.num_rows, -1),
        batch.column("similarity").to_numpy(),
    )


def words(ids: pa.Array) -> Words:
    """16-byte ids as uint64 [n, 2] that sort as the bytes do."""
    found: Words = values(ids).reshape(len(ids), 16).view(">u8").astype(np.uint64)
    return found


def as_ids(found: Words) -> pa.Array:
    """Undo `words`."""
    ends = np.arange(len(found) + 1, dtype=np.int32) * np.int32(16)
    data = np.ascontiguousarray(found).astype(">u8")
    return pa.Array.from_buffers(ID, len(found), [None, pa.py_buffer(ends), pa.py_buffer(data)])


def pair_batch(a: Words, b: Words, similarity: npt.NDArray[np.float64]) -> pa.RecordBatch:
    """Pairs of ids as rows of COPIES, the smaller id first."""
    swap = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
    low, high = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    columns = [as_ids(low), as_ids(high), pa.array(similarity.astype(np.float32))]
    return pa.RecordBatch.from_arrays(columns, names=["content_a", "content_b", "similarity"])
