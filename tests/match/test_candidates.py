"""Candidates through Spark, and the tasks it runs, against brute force."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.match import candidates
from pipeline.match.blocks import choose_plan, make_plan
from pipeline.match.candidates import Spread, candidate_pairs, spread, whole_pieces
from tests.match.hashes import KINDS, U64, make

Row = tuple[int, int, int]


def truth(queries: U64, hashes: U64, radius: int) -> set[Row]:
    """Signed, as Spark has them."""
    distance = np.bitwise_count(queries[:, None] ^ hashes[None, :])
    left, right = np.nonzero(distance <= radius)
    a, b = queries.view(np.int64)[left].tolist(), hashes.view(np.int64)[right].tolist()
    return set(zip(a, b, distance[left, right].tolist(), strict=True))


def once(rows: list[Row]) -> set[Row]:
    assert max(Counter(rows).values(), default=1) == 1, "a pair was emitted twice"
    return set(rows)


def batches(hashes: U64, rows: int) -> list[pa.RecordBatch]:
    return list(pa.table({"hash64": hashes.view(np.int64)}).to_batches(max_chunksize=rows))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    radius=st.integers(0, 4),
    part_bits=st.integers(0, 3),
    tasks=st.integers(1, 5),
    batch_rows=st.integers(1, 200),
    has_queries=st.booleans(),
)
def test_tasks_together_find_every_pair_once(
    seed: int,
    kind: str,
    radius: int,
    part_bits: int,
    tasks: int,
    batch_rows: int,
    has_queries: bool,
) -> None:
    """What Spark does in between is done by hand: rows go by their task's number."""
    rng = np.random.default_rng(seed)
    plan = choose_plan(300, radius)
    hashes = make(kind, rng, 300, radius, plan)
    queries = np.unique(np.concatenate([hashes[:50], hashes[:50] ^ np.uint64(1 << 9)]))
    how = Spread(part_bits, tasks)
    sent = list(candidates.send(iter(batches(hashes, batch_rows)), plan, how))
    if has_queries:
        sent += candidates.send(iter(batches(queries, batch_rows)), plan, how, is_query=True)
    pieces = pa.Table.from_batches(sent)
    rows, work = [], []
    for task in range(tasks):
        of_task = pieces.filter(pa.compute.equal(pieces.column("task"), task))
        given = iter(of_task.to_batches())
        for batch in candidates.search_units(given, plan, how, 50, has_queries):
            for row in zip(*batch.to_pydict().values(), strict=True):
                (rows if row[3] is None else work).append(row)
    assert len(work) == tasks
    sent_rows = len(plan.masks) * (len(hashes) + (len(queries) if has_queries else 0))
    assert sum(row[4] for row in work) >= sent_rows
    assert sum(row[5] for row in work) == 8 * sent_rows
    if has_queries:
        expected = truth(queries, hashes, radius)
    else:
        expected = {row for row in truth(hashes, hashes, radius) if row[0] < row[1]}
    assert once([row[:3] for row in rows]) == expected


def test_work_is_spread_by_its_size() -> None:
    assert spread(1000, 15) == Spread(0, 1)
    assert spread(1_000_000, 15) == Spread(0, 15)
    huge = spread(10**10, 15)
    assert 15 * 2**11 < huge.tasks <= 15 * 2**12
    assert huge.tasks == 15 << huge.part_bits


@pytest.fixture
def frame(spark: Any) -> Iterator[Any]:
    def made(hashes: U64, partitions: int) -> Any:
        table = pa.table({"hash64": hashes.view(np.int64)})
        return spark.createDataFrame(table).repartition(partitions)

    with whole_pieces(spark):
        yield made


@pytest.mark.spark
def test_spark_finds_every_pair_once_and_queries_what_is_near_them(
    spark: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_UNIT_ROWS", 900)
    monkeypatch.setattr(candidates, "_TASK_ROWS", 10_000)
    plan = make_plan(4, 6)
    rng = np.random.default_rng(21)
    hashes = np.unique(np.concatenate([make(kind, rng, 400, 4, plan) for kind in KINDS]))
    assert spread(len(hashes), 15).tasks > 2
    found = candidates.search(frame(hashes, 3), plan, 100, len(hashes)).persist()
    rows = [(r[0], r[1], r[2]) for r in candidates.pairs_of(found).collect()]
    assert once(rows) == {row for row in truth(hashes, hashes, 4) if row[0] < row[1]}
    work = candidates.work_of(found)
    assert work.rows >= 15 * len(hashes)
    assert work.comparisons >= len(rows)
    found.unpersist()
    queries = np.unique(hashes[::5] ^ np.uint64(1 << 3))
    asked = candidate_pairs(
        frame(hashes, 2), plan, 100, len(hashes) + len(queries), frame(queries, 1)
    )
    assert once([(r[0], r[1], r[2]) for r in asked.collect()]) == truth(queries, hashes, 4)
