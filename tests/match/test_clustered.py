"""Units of clusters: a cluster that is cut gives what it gives whole, each pair once."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.vectors import pack
from pipeline.match import boundary, clustered
from pipeline.match.cluster_units import Plan, plan_units
from tests.match.vectors import clumped, cosines, digests, stored

NAMES = ["content_id", "vector", "clusters", "similarity"]


def assigned(vectors, ids, centroids, probe) -> pa.RecordBatch:
    rows = pa.record_batch({"content_id": pa.array(ids, pa.binary()), "vector": pack(vectors)})
    (found,) = clustered._assign(iter([rows]), centroids.astype(np.float16), probe)
    assert found.schema.names == NAMES
    return found


def in_units(rows: pa.RecordBatch, plan: Plan, task: int, seed: int) -> list[pa.RecordBatch]:
    """What a task gets: its rows in any order, sorted by unit, in small batches."""
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    shuffled = rows.take(pa.array(order))
    halves = [shuffled.slice(0, 7), shuffled.slice(7)] if rows.num_rows > 7 else [shuffled]
    spread = pa.Table.from_batches(clustered._spread(iter(halves), plan))
    mine = spread.filter(pa.compute.equal(spread["task"], task)).combine_chunks()
    mine = mine.take(np.argsort(mine["unit"].to_numpy(), kind="stable"))
    return mine.combine_chunks().to_batches(max_chunksize=5)


def sizes(rows: pa.RecordBatch) -> dict[int, int]:
    numbers, counts = np.unique(rows["clusters"].flatten().to_numpy(), return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def search(rows, k, cap, tasks, seed, work) -> list[dict]:
    plan = plan_units(sizes(rows), k, cap, tasks)
    assert plan.tasks <= tasks
    batches = [
        batch
        for task in range(plan.tasks)
        for batch in work(iter(in_units(rows, plan, task, seed)), plan)
    ]
    return [row for batch in batches for row in batch.to_pylist()]


def copies(threshold):
    return lambda batches, plan: clustered._copies(batches, plan, threshold)


def maxima(order):
    return lambda batches, plan: clustered._maxima(batches, plan, order, seed=7)


def largest(rows: list[dict]) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for row in rows:
        known = found.get(row["content_id"], -1.0)
        found[row["content_id"]] = max(known, row["semantic_similarity"])
    return found


CASES = given(
    st.integers(1, 60), st.integers(1, 6), st.integers(1, 3), st.integers(1, 12), st.integers(1, 5)
)


@settings(max_examples=40)
@CASES
def test_copies_are_all_pairs_that_share_a_cluster_each_once(rows, k, probe, cap, tasks):
    vectors, ids = clumped(rows, 16, rows), digests(rows)
    found = assigned(vectors, ids, stored(np.random.default_rng(k).normal(size=(k, 16))), probe)
    clusters = [set(c) for c in found["clusters"].to_pylist()]
    truth = cosines(vectors)
    expected = {
        tuple(sorted((ids[a], ids[b]))): np.float32(truth[a, b])
        for a in range(rows)
        for b in range(a)
        if truth[a, b] >= 0.9 and clusters[a] & clusters[b]
    }
    pairs = search(found, k, cap, tasks, seed=cap, work=copies(0.9))
    assert len(pairs) == len(expected)
    got = {(p["content_a"], p["content_b"]): np.float32(p["similarity"]) for p in pairs}
    assert got == expected


def semdedup(vectors, ids, clusters, nearest, order) -> dict[bytes, float]:
    """The paper's measure, directly: within a cluster, in order, the largest cosine before."""
    found = {}
    for cluster in set(clusters):
        members = [i for i in range(len(ids)) if clusters[i] == cluster]
        sign = {"hard": 1, "easy": -1}[order]
        members.sort(key=lambda i: (sign * nearest[i], ids[i]))
        similar = cosines(vectors[members])
        upper = np.triu(similar, k=1) + np.tril(np.full_like(similar, -1))
        maxima = upper.max(axis=0)
        found |= {ids[i]: np.float32(m) for i, m in zip(members, maxima, strict=True)}
    return found


@settings(max_examples=40)
@CASES
@pytest.mark.parametrize("order", ["hard", "easy"])
def test_the_measure_is_the_papers_whether_clusters_are_cut_or_not(
    order, rows, k, _probe, cap, tasks
):
    vectors, ids = clumped(rows, 16, rows), digests(rows)
    found = assigned(vectors, ids, stored(np.random.default_rng(k).normal(size=(k, 16))), 1)
    clusters = found["clusters"].flatten().to_pylist()
    nearest = found["similarity"].to_pylist()
    expected = semdedup(vectors, ids, clusters, nearest, order)
    rows_found = search(found, k, cap, tasks, seed=cap, work=maxima(order))
    assert largest(rows_found) == expected
    whole = search(found, k, rows, 1, seed=0, work=maxima(order))
    assert len(whole) == rows and largest(whole) == expected
    of = {r["content_id"]: (r["cluster"], r["centroid_similarity"]) for r in rows_found}
    assert of == dict(zip(ids, zip(clusters, nearest, strict=True), strict=True))


def test_a_random_order_is_another_with_another_seed_and_the_same_with_the_same():
    ids = clustered.words(pa.array(digests(200), pa.binary()))
    nearest = np.zeros(200, np.float32)
    orders = [clustered.in_order(ids, nearest, "random", seed).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(200))
    assert orders[0] != clustered.in_order(ids, nearest, "hard", 1).tolist()


def test_a_giant_cluster_is_spread_over_the_tasks():
    plan = plan_units({0: 100_000, 1: 10, 2: 0}, 3, cap=10_000, tasks=8)
    assert plan.parts.tolist() == [10, 1, 1]
    assert len(plan.cluster) == 55 + 2
    work = np.bincount(plan.task, np.where(plan.left == plan.right, 0.5, 1) * (plan.cluster == 0))
    assert len(work) == 8 and work.max() <= 1.2 * work.mean()


def test_vectors_that_are_none_have_no_cluster():
    vectors = clumped(3, 8, 0)
    vectors[1, 2] = np.nan
    found = assigned(vectors, digests(3), clumped(2, 8, 1), 2)
    assert [len(c) for c in found["clusters"].to_pylist()] == [2, 0, 2]


def test_ids_sort_as_their_bytes_and_come_back():
    ids = [b"\x00" * 16, b"\xff" * 16, b"\x00" * 8 + b"\x80" * 8, *digests(20)]
    found = clustered.words(pa.array(ids, pa.binary()))
    assert clustered.as_ids(found).to_pylist() == ids
    order = np.lexsort((found[:, 1], found[:, 0]))
    assert [ids[i] for i in order] == sorted(ids)


def test_brute_force_finds_every_pair_of_a_sampled_row_once_and_tells_which_share_a_cluster():
    vectors, ids = clumped(60, 16, 4), digests(60)
    rows = assigned(vectors, ids, stored(np.random.default_rng(0).normal(size=(40, 16))), 2)
    asked = [3, 4, 5, 20, 41]
    queries = [clustered.members_of(rows.take(pa.array(asked)))]
    batches = [rows.slice(0, 25), rows.slice(25)]
    found = [
        row
        for batch in boundary._near(iter(batches), queries=queries, threshold=0.8)
        for row in batch.to_pylist()
    ]
    truth, clusters = cosines(vectors), [set(c) for c in rows["clusters"].to_pylist()]
    expected = {
        (*sorted((ids[a], ids[b])), bool(clusters[a] & clusters[b]))
        for a in asked
        for b in range(60)
        if a != b and truth[a, b] >= 0.8
    }
    got = [(r["content_a"], r["content_b"], r["is_shared"]) for r in found]
    assert len(got) == len(expected) and set(got) == expected
    assert {shared for *_, shared in expected} == {True, False}
