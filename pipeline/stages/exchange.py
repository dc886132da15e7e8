"""Arrow record batches through a Spark shuffle, whole batches at a time.

A row of the shuffle is a piece: a record batch for one bucket, serialised. So a pair costs Spark
no row of its own, and what is done with the pieces of a bucket is NumPy's work. Spark moves,
spills, compresses and, after a lost executor, makes pieces again. Pieces of a bucket arrive in no
order: what is made of them must not depend on it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

S = TypeVar("S")

_DDL = "bucket int, section int, rows binary"
_SCHEMA = pa.schema([("bucket", pa.int32()), ("section", pa.int32()), ("rows", pa.binary())])
# A piece in Arrow's IPC form is a multiple of this long; a batch of pieces is flushed beyond it.
_BATCH_BYTES = 8 << 20


class Piece(NamedTuple):
    """Rows for a bucket. section: pieces of a bucket arrive by rising section, if asked for."""

    bucket: int
    section: int
    rows: pa.RecordBatch


Read = Callable[[S], Iterator[Piece]]
Gather = Callable[[int, Iterator[Piece]], Iterator[Piece]]


def scatter(
    rows: pa.RecordBatch,
    bucket: npt.NDArray[np.integer[Any]],
    section: npt.NDArray[np.integer[Any]] | None = None,
) -> Iterator[Piece]:
    """Split rows by bucket, and by section within it; in order within each."""
    if not rows.num_rows:
        return
    group = bucket.astype(np.int64) << 32
    if section is not None:
        group |= section.astype(np.int64)
    order = np.argsort(group, kind="stable")
    group, rows = group[order], rows.take(pa.array(order))
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    for low, high in zip(first, [*first[1:], len(group)], strict=True):
        key = int(group[low])
        yield Piece(key >> 32, key & 0xFFFFFFFF, rows.slice(low, high - low))


def source(spark: SparkSession, items: Sequence[S], read: Read[S]) -> DataFrame:
    """Pieces that `read` makes of each item, in a task for each."""
    count = max(len(items), 1)
    numbers = spark.range(0, count, 1, count)
    return numbers.mapInArrow(partial(_read, list(items), read), _DDL)


def repiece(frame: DataFrame, split: Callable[[pa.RecordBatch], Iterator[Piece]]) -> DataFrame:
    """Pieces of the rows of an ordinary DataFrame."""
    return frame.mapInArrow(partial(_repiece, split), _DDL)


def exchange(
    pieces: DataFrame, buckets: int, schema: pa.Schema, gather: Gather, by_section: bool = False
) -> DataFrame:
    """The pieces that `gather(bucket, pieces)` makes of each bucket that has any.

    schema: of the pieces' rows. `gather` may write and yield nothing.
    """
    sent = pieces.repartitionById(buckets, "bucket")
    if by_section:
        sent = sent.sortWithinPartitions("section")
    return sent.mapInArrow(partial(_gather, schema, gather), _DDL)


def rows(pieces: DataFrame, schema: pa.Schema) -> DataFrame:
    """The rows of pieces as an ordinary DataFrame. schema: of the pieces' rows."""
    return pieces.mapInArrow(partial(_rows, schema), from_arrow_schema(schema))


def table(pieces: Iterable[Piece], schema: pa.Schema) -> pa.Table:
    """The rows of pieces as one table of one chunk."""
    rows = pa.Table.from_batches([piece.rows for piece in pieces], schema)
    return rows.combine_chunks()


def _read(
    items: list[S], read: Read[S], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            if number < len(items):
                yield from _packed(read(items[number]))


def _repiece(
    split: Callable[[pa.RecordBatch], Iterator[Piece]], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from _packed(split(batch))


def _gather(
    schema: pa.Schema, gather: Gather, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    pieces = _unpacked(schema, batches)
    first = next(pieces, None)
    if first is not None:
        yield from _packed(gather(first.bucket, _chained(first, pieces)))


def _rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for piece in _unpacked(schema, batches):
        yield piece.rows


def _chained(first: Piece, pieces: Iterator[Piece]) -> Iterator[Piece]:
    yield first
    del first
    yield from pieces


def _unpacked(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[Piece]:
    for batch in batches:
        buckets, sections = (batch.column(n).to_pylist() for n in ("bucket", "section"))
        for i, rows in enumerate(batch.column("rows")):
            # Copied: Arrow wants its buffers aligned, and Spark's batch can go.
            data = pa.py_buffer(rows.as_py())
            yield Piece(buckets[i], sections[i], pa.ipc.read_record_batch(data, schema))


def _packed(pieces: Iterable[Piece]) -> Iterator[pa.RecordBatch]:
    held: list[tuple[int, int, bytes]] = []
    size = 0
    for bucket, section, rows in pieces:
        data = rows.serialize().to_pybytes()
        held.append((bucket, section, data))
        size += len(data)
        if size >= _BATCH_BYTES:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(held: list[tuple[int, int, bytes]]) -> pa.RecordBatch:
    arrays = [
        pa.array(values, f.type) for values, f in zip(zip(*held, strict=True), _SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
