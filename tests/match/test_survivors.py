"""Survivors: the rule's promises, and the Spark rounds against the rule."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import functions as F

from pipeline.core.tables import COPIES, NEIGHBORS, RELEASED_NEIGHBORS
from pipeline.match.survivors import (
    all_edges,
    directed,
    dropped_fingerprints,
    kept_by_priority,
    owners,
    represented,
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


def assert_promises(rank: Ints, a: Ints, b: Ints, kept: npt.NDArray[np.bool_]) -> None:
    """Every dropped node has a better kept neighbour, and no two kept ones are neighbours."""
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


@given(graphs(), st.randoms(use_true_random=False))
def test_every_dropped_one_has_a_better_kept_neighbour_and_no_two_kept_are_neighbours(
    graph: tuple[Ints, Ints, Ints], shuffler: Any
) -> None:
    rank, a, b = graph
    kept = kept_by_priority(rank, a, b)
    assert_promises(rank, a, b, kept)
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
            "image_id": name(int(place)),
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
    schema = pa.schema(
        [("fingerprint", pa.binary()), ("image_id", pa.binary()), ("priority", kind)]
    )
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=schema))


def edges_of(spark: Any, a: Ints, b: Ints, copied: npt.NDArray[np.bool_] | None = None) -> Any:
    """Edges at distance (a + b) % 5; those marked in `copied` come from embeddings instead."""
    copied = np.zeros(len(a), bool) if copied is None else copied
    hashed = [
        {
            "fingerprint_a": name(x),
            "fingerprint_b": name(y),
            "distance": int(x + y) % 5,
            "distance256": 0,
            "rule": "perceptual",
        }
        for x, y in zip(a[~copied], b[~copied], strict=True)
    ]
    alike = [
        {"fingerprint_a": name(x), "fingerprint_b": name(y), "similarity": int(x + y) % 5 / 8}
        for x, y in zip(a[copied], b[copied], strict=True)
    ]
    return all_edges(
        spark.createDataFrame(pa.Table.from_pylist(hashed, schema=NEIGHBORS.schema)),
        spark.createDataFrame(pa.Table.from_pylist(alike, schema=COPIES.schema)),
    )


def chain(nodes: Ints) -> Ints:
    return np.stack([nodes[:-1], nodes[1:]], axis=1)


def many_shapes() -> tuple[Ints, Ints]:
    """Edges [n, 2] and ranks of one graph of every shape that is hard for someone.

    Chains whose priority falls, rises and is mixed, stars with the best and the worst in the
    middle, a clique, a grid, a random part, and nodes without an edge.
    """
    rng = np.random.default_rng(8)
    ids = np.arange(203)
    down, up, mixed, star, shy, clique, grid, loose = np.split(ids, [8, 16, 56, 72, 88, 98, 123])
    shuffled = rng.permutation(mixed)
    grid = grid.reshape(5, 5)
    random = rng.choice(loose[:80], (150, 2))
    edges = np.concatenate(
        [
            chain(down),
            chain(up),
            chain(shuffled),
            np.stack([np.full(15, star[0]), star[1:]], axis=1),
            np.stack([np.full(15, shy[-1]), shy[:-1]], axis=1),
            np.array([(x, y) for x in clique for y in clique if x < y]),
            *(chain(line) for line in [*grid, *grid.T]),
            random[random[:, 0] != random[:, 1]],
        ]
    )
    rank = ids.copy()
    rank[up] = up[::-1]
    rank[loose] = rng.permutation(loose)
    return np.unique(np.sort(edges, axis=1), axis=0), rank


@pytest.mark.spark
@pytest.mark.parametrize(
    ("driver_edges", "partitions", "shuffles"), [(0, 3, 5), (120, 7, 2), (10**6, 1, 4)]
)
def test_spark_rounds_and_driver_agree_with_the_rule(
    spark: Any, driver_edges: int, partitions: int, shuffles: int
) -> None:
    """The same survivors, owners and evidence in rounds, on the driver and half and half, however
    the rows are cut, ordered and shuffled."""
    spark.conf.set("spark.sql.shuffle.partitions", str(shuffles))
    pairs, rank = many_shapes()
    kept = kept_by_priority(rank, pairs[:, 0], pairs[:, 1])
    assert_promises(rank, pairs[:, 0], pairs[:, 1], kept)
    shuffled = np.random.default_rng(partitions).permutation(pairs)
    copied = shuffled.sum(axis=1) % 3 == 0
    # A pair that both tables have: its distance is told.
    both = np.concatenate([shuffled, shuffled[copied][::2]])
    copied = np.concatenate([copied, np.zeros(len(both) - len(copied), bool)])
    edges = directed(
        edges_of(spark, both[:, 0], both[:, 1], copied).repartition(partitions),
        champions(spark, rank).repartition(partitions),
    ).localCheckpoint()
    dropped = dropped_fingerprints(edges, driver_edges)
    rows = [bytes(r["fingerprint"]) for r in dropped.collect()]
    assert len(rows) == len(set(rows))
    assert set(rows) == {name(node) for node in np.flatnonzero(~kept)}
    owned = {bytes(r["fingerprint"]): r for r in owners(edges, dropped).collect()}
    assert owned.keys() == set(rows)
    hashed = {(int(x), int(y)) for x, y in both[~copied]}
    for node in np.flatnonzero(~kept):
        ends = [
            (x, y) for x, y in [*pairs.tolist(), *pairs[:, ::-1].tolist()] if x == node and kept[y]
        ]
        best = min(ends, key=lambda end: rank[end[1]])
        row = owned[name(node)]
        assert bytes(row["representative"]) == name(int(rank[best[1]]))
        if tuple(sorted(best)) in hashed:
            assert (row["distance"], row["similarity"]) == (sum(best) % 5, None)
            assert row["rule"] == "perceptual"
        else:
            assert (row["distance"], row["similarity"]) == (None, sum(best) % 5 / 8)
            assert row["rule"] == "copy"


@pytest.mark.spark
def test_an_edge_to_a_picture_without_passing_pairs_drops_nobody(spark: Any) -> None:
    passing = champions(spark, np.arange(3)).where(F.col("fingerprint") != F.lit(name(0)))
    edges = directed(edges_of(spark, np.array([0, 1]), np.array([1, 2])), passing)
    assert [bytes(r[0]) for r in dropped_fingerprints(edges, 10).collect()] == [name(2)]


@pytest.mark.spark
def test_released_pictures_come_before_all_and_drop_only_their_neighbours(spark: Any) -> None:
    """0 - 1 - 2: 0 is released, so it gives way, 1 is free of it and keeps 2 out."""
    released = [
        {
            "fingerprint": name(0),
            "released_image_id": b"of last year....",
            "release": "2025",
            "distance": 3,
            "distance256": 9,
        }
    ]
    with ExitStack() as held:
        found = represented(
            champions(spark, np.arange(3)),
            edges_of(spark, np.array([0, 1]), np.array([1, 2])),
            spark.createDataFrame(pa.Table.from_pylist(released, schema=RELEASED_NEIGHBORS.schema)),
            driver_edges=10,
            held=held,
        ).collect()
    rows = {
        bytes(r["fingerprint"]): (bytes(r["representative"]), r["distance"], r["rule"])
        for r in found
    }
    assert rows == {
        name(0): (b"of last year....", 3, "released"),
        name(2): (name(1), 3, "perceptual"),
    }
