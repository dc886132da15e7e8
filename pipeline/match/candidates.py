"""Candidates in Spark: all pairs of distinct 64-bit hashes within the radius, each once.

A row of the shuffle is a piece: the hashes of one task for one unit, eight bytes each, nothing
else. A unit is a part of one table, chosen by the key, so that a bucket is whole in one unit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.match.blocks import U64, BlockPlan, Work

# Hashes that a task sends at a time, eight bytes each and as much again per table.
_SENT_ROWS = 1 << 20
# Hashes of a unit at most, on average: some 100 MB in a task.
_UNIT_ROWS = 4_000_000
# Hashes of a task at least, as far as units go; each costs a Python worker.
_TASK_ROWS = 1_000_000

PAIRS_SCHEMA = "hash_a long, hash_b long, distance int"
# A row with `comparisons` says what one task did, and is no pair.
FOUND_SCHEMA = f"{PAIRS_SCHEMA}, comparisons long, rows long, sent_bytes long"
_FOUND = ["hash_a", "hash_b", "distance", "comparisons", "rows", "sent_bytes"]
_PIECES = pa.schema(
    [
        ("task", pa.int32()),
        ("unit", pa.int32()),
        ("is_query", pa.bool_()),
        ("hashes", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Spread:
    """How the tables are divided: table << part_bits | part is a unit; unit % tasks its task."""

    part_bits: int
    tasks: int


def spread(rows: int, tables: int) -> Spread:
    """For so many hashes and queries together."""
    part_bits = max(0, (-(-rows // _UNIT_ROWS) - 1).bit_length())
    units = tables << part_bits
    return Spread(part_bits, max(1, min(units, -(-rows * tables // _TASK_ROWS))))


def candidate_pairs(
    hashes: DataFrame,
    plan: BlockPlan,
    bucket_cap: int,
    rows: int,
    queries: DataFrame | None = None,
) -> DataFrame:
    """Pairs of hashes within the plan's radius: hash_a < hash_b (as signed), distance in bits.

    hashes: one long column, hash64, without repeats.
    bucket_cap: rows of a bucket above which it is cut again.
    rows: how many hashes and queries there are; more or fewer change speed only.
    queries: one long column, hash64, without repeats. When given, pairs are of a query, hash_a, and
        a hash, hash_b, each once: two of `hashes` are none, and a query that is a hash is one with
        it, at distance 0.
    To be run under `whole_pieces`.
    """
    return pairs_of(search(hashes, plan, bucket_cap, rows, queries))


def search(
    hashes: DataFrame,
    plan: BlockPlan,
    bucket_cap: int,
    rows: int,
    queries: DataFrame | None = None,
) -> DataFrame:
    """As `candidate_pairs`, with what it cost: FOUND_SCHEMA, for `pairs_of` and `work_of`."""
    how = spread(rows, len(plan.masks))
    ddl = "task int, unit int, is_query boolean, hashes binary"
    sent = hashes.select("hash64").mapInArrow(partial(send, plan=plan, how=how), ddl)
    if queries is not None:
        asked = queries.select("hash64")
        sent = sent.union(asked.mapInArrow(partial(send, plan=plan, how=how, is_query=True), ddl))
    search_here = partial(
        search_units, plan=plan, how=how, bucket_cap=bucket_cap, has_queries=queries is not None
    )
    return sent.repartitionById(how.tasks, "task").mapInArrow(search_here, FOUND_SCHEMA)


def pairs_of(found: DataFrame) -> DataFrame:
    """The pairs that `search` found."""
    return found.where(F.col("comparisons").isNull()).select("hash_a", "hash_b", "distance")


def work_of(found: DataFrame) -> Work:
    """What `search` did, over all its tasks. Runs it, unless it is kept."""
    names = ("rows", "comparisons", "sent_bytes")
    sums = found.agg(*[F.sum(name) for name in names]).first()
    assert sums is not None  # an aggregate without groups has one row
    return Work(*[total or 0 for total in sums])


@contextmanager
def whole_pieces(spark: SparkSession) -> Iterator[None]:
    """Python is given rows by their bytes: of pieces a few at a time, of hashes many."""
    wanted = {
        "spark.sql.execution.arrow.maxBytesPerBatch": str(16 << 20),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 17),
    }
    before = {name: str(spark.conf.get(name)) for name in wanted}
    try:
        for name, value in wanted.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def send(
    batches: Iterator[pa.RecordBatch], plan: BlockPlan, how: Spread, is_query: bool = False
) -> Iterator[pa.RecordBatch]:
    """Batches of hash64 in; pieces, out: each hash once for every table."""
    held: list[U64] = []
    rows = 0
    for batch in batches:
        held.append(column(batch, "hash64"))
        rows += batch.num_rows
        if rows >= _SENT_ROWS:
            yield from _pieces(np.concatenate(held), plan, how, is_query)
            held, rows = [], 0
    if rows:
        yield from _pieces(np.concatenate(held), plan, how, is_query)


def search_units(
    batches: Iterator[pa.RecordBatch],
    plan: BlockPlan,
    how: Spread,
    bucket_cap: int,
    has_queries: bool,
) -> Iterator[pa.RecordBatch]:
    """One task: pieces of its units in; rows of FOUND_SCHEMA out, the last of which is its work.

    Memory: 8 bytes a hash for the pieces of the task, and what `search_table` takes for a unit. A
    unit holds _UNIT_ROWS hashes on average, and besides them those of a bucket that is larger.
    """
    from pipeline.match.search import search_table

    work = Work()
    units = _received(batches)
    for unit in sorted(units):
        hashes, queries = units.pop(unit)
        work.sent_bytes += hashes.nbytes + queries.nbytes
        table = unit >> how.part_bits
        asked = queries if has_queries else None
        for pairs in search_table(hashes, plan, table, bucket_cap, asked, work):
            left, right = pairs.left.view(np.int64), pairs.right.view(np.int64)
            if not has_queries:
                left, right = np.minimum(left, right), np.maximum(left, right)
            yield _found(left, right, pairs.distance)
    yield _work(work)


def column(batch: pa.RecordBatch, name: str) -> U64:
    """A long column as uint64, without a copy where Arrow allows it."""
    values: npt.NDArray[np.int64] = batch.column(name).to_numpy(zero_copy_only=False)
    return values.view(np.uint64)


def _pieces(hashes: U64, plan: BlockPlan, how: Spread, is_query: bool) -> Iterator[pa.RecordBatch]:
    """Of one table at a time."""
    from pipeline.match import kernel

    parts = 1 << how.part_bits
    counts, sent = np.empty(parts, np.int64), np.empty_like(hashes)
    for table, mask in enumerate(plan.mask_array):
        kernel.send(hashes, mask, how.part_bits, counts, sent)
        units = (table << how.part_bits) + np.arange(parts, dtype=np.int32)
        ends = np.concatenate([[0], np.cumsum(counts * 8)]).astype(np.int32)
        data = [None, pa.py_buffer(ends), pa.py_buffer(sent.tobytes())]
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(units % how.tasks, pa.int32()),
                pa.array(units, pa.int32()),
                pa.array(np.full(parts, is_query)),
                pa.Array.from_buffers(pa.binary(), parts, data),
            ],
            schema=_PIECES,
        )


def _received(batches: Iterator[pa.RecordBatch]) -> dict[int, tuple[U64, U64]]:
    """Hashes and queries of each unit."""
    held: dict[int, tuple[list[bytes], list[bytes]]] = {}
    for batch in batches:
        units, asks = batch.column("unit").to_pylist(), batch.column("is_query").to_pylist()
        for unit, is_query, piece in zip(units, asks, batch.column("hashes"), strict=True):
            held.setdefault(unit, ([], []))[is_query].append(piece.as_py())
    found = {}
    for unit in list(held):
        hashes, queries = held.pop(unit)
        found[unit] = (_words(hashes), _words(queries))
    return found


def _words(pieces: list[bytes]) -> U64:
    return np.frombuffer(b"".join(pieces), dtype=np.uint64)


def _found(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], distance: npt.NDArray[np.int32]
) -> pa.RecordBatch:
    none = pa.nulls(len(left), pa.int64())
    return pa.RecordBatch.from_arrays(
        [pa.array(left), pa.array(right), pa.array(distance, pa.int32()), none, none, none],
        names=_FOUND,
    )


def _work(work: Work) -> pa.RecordBatch:
    none = pa.nulls(1, pa.int64())
    done = [pa.array([n]) for n in (work.comparisons, work.rows, work.sent_bytes)]
    return pa.RecordBatch.from_arrays([none, none, pa.nulls(1, pa.int32()), *done], names=_FOUND)
