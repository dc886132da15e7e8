"""Survivors: the rule's promises, and the Spark rounds against the rule."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from pipeline.match.survivors import (
    directed,
    dropped_fingerprints,
    kept_by_priority,
    owners,
)

Ints = npt.NDArray[np.int64]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Ints, Ints, Ints]:
    nodes = draw(st.integers(1, 30))
    rank = np.array(draw(st.permutations(range(nodes))), dtype=np.int64)
    ends = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    edges = {(min(e), max(e)) for e in draw(st.lists(ends, max_size=80)) if e[0] != e[1]}
    pairs = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)
    return rank, pairs[:, 0], pairs[:, 1]


@given(graphs(), st.randoms(use_true_random=False))
def test_every_dropped_one_has_a_better_kept_neighbour_and_no_two_kept_are_neighbours(
    graph: tuple[Ints, Ints, Ints], shuffler: Any
) -> None:
    rank, a, b = graph
    kept = kept_by_priority(rank, a, b)
    neighbours: dict[int, set[int]] = {node: set() for node in range(len(rank))}
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        neighbours[x].add(y)
        neighbours[y].add(x)
    for node in range(len(rank)):
        better_kept = {n for n in neighbours[node] if kept[n] and rank[n] < rank[node]}
        # Both promises at once: kept exactly when no better neighbour is kept.
        assert kept[node] == (not better_kept)
        if kept[node]:
            assert not any(kept[n] for n in neighbours[node])
    order = np.array(shuffler.sample(range(len(a)), len(a)), dtype=np.int64)
    assert (kept_by_priority(rank, b[order], a[order]) == kept).all()


def test_a_chain_keeps_every_second() -> None:
    rank = np.arange(5)
    kept = kept_by_priority(rank, np.arange(4), np.arange(1, 5))
    assert kept.tolist() == [True, False, True, False, True]


def name(node: int) -> bytes:
    return b"%016d" % node


def champions(spark: Any, rank: Ints) -> Any:
    """Priorities in which every field decides somewhere; the id decides ties."""
    rows = [
        {
            "fingerprint": name(node),
            "priority": {
                "neg_pixels": int(place // 60),
                "neg_bytes": int(place // 20) % 3,
                "neg_similarity": float(place // 4 % 5) / 7,
                "image_id": name(int(place)),
            },
        }
        for node, place in enumerate(rank)
    ]
    kind = pa.struct(
        [
            ("neg_pixels", pa.int64()),
            ("neg_bytes", pa.int64()),
            ("neg_similarity", pa.float64()),
            ("image_id", pa.binary()),
        ]
    )
    schema = pa.schema([("fingerprint", pa.binary()), ("priority", kind)])
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=schema))


def neighbors(spark: Any, a: Ints, b: Ints) -> Any:
    table = pa.table(
        {
            "fingerprint_a": pa.array([name(x) for x in a], pa.binary()),
            "fingerprint_b": pa.array([name(x) for x in b], pa.binary()),
            "distance": pa.array((a + b) % 5, pa.int32()),
        }
    )
    return spark.createDataFrame(table)


@pytest.mark.spark
@pytest.mark.parametrize(("driver_edges", "partitions"), [(0, 3), (120, 7), (10**6, 1)])
def test_spark_rounds_and_driver_agree_with_the_rule(
    spark: Any, driver_edges: int, partitions: int
) -> None:
    rng = np.random.default_rng(8)
    rank = rng.permutation(300)
    pairs = np.unique(np.sort(rng.integers(0, 300, (420, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    kept = kept_by_priority(rank, pairs[:, 0], pairs[:, 1])
    shuffled = np.random.default_rng(partitions).permutation(pairs)
    edges = directed(
        neighbors(spark, shuffled[:, 0], shuffled[:, 1]).repartition(partitions),
        champions(spark, rank).repartition(partitions),
    ).localCheckpoint()
    dropped = dropped_fingerprints(edges, driver_edges)
    rows = [bytes(r["fingerprint"]) for r in dropped.collect()]
    assert len(rows) == len(set(rows))
    assert set(rows) == {name(node) for node in np.flatnonzero(~kept)}
    owned = {bytes(r["fingerprint"]): r for r in owners(edges, dropped).collect()}
    assert owned.keys() == set(rows)
    for node in np.flatnonzero(~kept):
        ends = [
            (x, y) for x, y in [*pairs.tolist(), *pairs[:, ::-1].tolist()] if x == node and kept[y]
        ]
        best = min(ends, key=lambda end: rank[end[1]])
        row = owned[name(node)]
        assert bytes(row["owner"]) == name(int(rank[best[1]]))
        assert row["owner_distance"] == sum(best) % 5


@pytest.mark.spark
def test_an_edge_to_a_picture_without_passing_pairs_drops_nobody(spark: Any) -> None:
    passing = champions(spark, np.arange(3)).where(F.col("fingerprint") != F.lit(name(0)))
    edges = directed(neighbors(spark, np.array([0, 1]), np.array([1, 2])), passing)
    assert [bytes(r[0]) for r in dropped_fingerprints(edges, 10).collect()] == [name(2)]
