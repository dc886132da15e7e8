"""The passes of `match` besides the search: pictures to nodes, nodes to hashes, pairs to nodes.

Everything hangs on hash64: nodes lie in files, one a bucket of hashes, and pairs are sent to the
files of their two hashes in turn. So a row costs Spark nothing by itself, and no join sorts nodes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from pipeline.core.accounts import Account, merge
from pipeline.core.context import Context
from pipeline.core.storage import Store, Superseded
from pipeline.match import nodes
from pipeline.match.tables import NODES
from pipeline.stages import exchange
from pipeline.stages.exchange import Piece

# Pictures of a bucket, some 80 bytes each in a task and twice as much again to sort.
_BUCKET_ROWS = 1_000_000
# Rows that are handed on at a time.
_PIECE_ROWS = 1 << 16

_Read = Callable[[pa.Table], Iterator[pa.RecordBatch]]


def buckets_for(pictures: int) -> int:
    """Buckets for so many pictures."""
    return max(1, -(-pictures // _BUCKET_ROWS))


def write_nodes(
    ctx: Context[Any], pictures: DataFrame, buckets: int, min_texture: int
) -> list[Account]:
    """Write NODES of rows of `images`; accounts of pictures, searched_pictures and hashes."""
    store = ctx.store
    store.remove(NODES.name)
    aspect = F.col("original_width") / F.col("original_height")
    columns = pictures.select("fingerprint", "hash64", "hash256", aspect.alias("aspect"), "texture")
    sent = exchange.repiece(columns, partial(_by_hash, buckets))
    gather = partial(_write_bucket, store, min_texture)
    exchange.exchange(sent, buckets, nodes.PICTURE, gather).count()
    units = [Account("pictures"), Account("searched_pictures"), Account("hashes")]
    return merge([*units, *ctx.accounts(NODES, list(store.committed(NODES)))])


def hashes(spark: SparkSession, store: Store) -> DataFrame:
    """The distinct hash64 of the nodes."""
    return _per_bucket(spark, store, _hashes, "hash64 long")


def equal_pairs(spark: SparkSession, store: Store) -> DataFrame:
    """Pairs of nodes that share a hash64, as `node_pairs` gives them."""
    return _per_bucket(spark, store, nodes.equal_hashes, from_arrow_schema(nodes.WHOLE))


def node_pairs(store: Store, buckets: int, pairs: DataFrame) -> DataFrame:
    """Pairs of nodes whose hashes are a pair (hash_a, hash_b, distance).

    Columns: fingerprint, hash256 and aspect, each with the suffix _a and _b, and distance.
    """
    columns = pairs.select(*nodes.PAIR.names)
    sent = exchange.repiece(columns, partial(_by_first, buckets))
    halves = exchange.exchange(sent, buckets, nodes.PAIR, partial(_first_halves, store, buckets))
    whole = exchange.exchange(halves, buckets, nodes.HALF, partial(_second_halves, store))
    return exchange.rows(whole, nodes.WHOLE)


def second_pairs(store: Store, buckets: int, halves: DataFrame) -> DataFrame:
    """As `node_pairs`, of pairs that have their first node already: columns of `nodes.HALF`."""
    sent = exchange.repiece(halves.select(*nodes.HALF.names), partial(_by_second, buckets))
    whole = exchange.exchange(sent, buckets, nodes.HALF, partial(_second_halves, store))
    return exchange.rows(whole, nodes.WHOLE)


def _by_hash(buckets: int, rows: pa.RecordBatch) -> Iterator[Piece]:
    rows = rows.cast(nodes.PICTURE)
    yield from exchange.scatter(rows, nodes.bucket_of(rows.column("hash64").to_numpy(), buckets))


def _by_first(buckets: int, rows: pa.RecordBatch) -> Iterator[Piece]:
    yield from exchange.scatter(rows, nodes.bucket_of(rows.column("hash_a").to_numpy(), buckets))


def _by_second(buckets: int, rows: pa.RecordBatch) -> Iterator[Piece]:
    rows = rows.cast(nodes.HALF)
    yield from exchange.scatter(rows, nodes.bucket_of(rows.column("hash_b").to_numpy(), buckets))


def _write_bucket(
    store: Store, min_texture: int, bucket: int, pieces: Iterator[Piece]
) -> Iterator[Piece]:
    found, accounts = nodes.distinct(exchange.table(pieces, nodes.PICTURE), min_texture)
    count = Account("hashes")
    count.keep(len(nodes.distinct_hashes(found)))
    # A task that was given up for lost may end after its successor.
    with suppress(Superseded), store.publish_part(NODES, bucket) as sink:
        sink.write(found)
        sink.accounts = [*accounts, count]
    yield from ()


def _first_halves(
    store: Store, buckets: int, bucket: int, pieces: Iterator[Piece]
) -> Iterator[Piece]:
    pairs = exchange.table(pieces, nodes.PAIR)
    halves = nodes.first_halves(pairs, _read(store, store.path(store.part_file(NODES, bucket))))
    to = nodes.bucket_of(halves.column("hash_b").to_numpy(), buckets)
    yield from exchange.scatter(halves, to)


def _second_halves(store: Store, bucket: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    halves = exchange.table(pieces, nodes.HALF)
    whole = nodes.second_halves(halves, _read(store, store.path(store.part_file(NODES, bucket))))
    for start in range(0, whole.num_rows, _PIECE_ROWS):
        yield Piece(bucket, 0, whole.slice(start, _PIECE_ROWS))


def _hashes(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    found = nodes.distinct_hashes(rows)
    yield from pa.table({"hash64": found}).to_batches(max_chunksize=_PIECE_ROWS)


def _per_bucket(
    spark: SparkSession, store: Store, read: _Read, schema: str | StructType
) -> DataFrame:
    """Rows that `read` makes of the nodes of each bucket, in a task for each."""
    files = list(store.committed(NODES).values())
    numbers = spark.range(0, len(files), 1, max(len(files), 1))
    return numbers.mapInArrow(partial(_of_buckets, store, files, read), schema)


def _of_buckets(
    store: Store, files: Sequence[str], read: _Read, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from read(_read(store, files[number]))


def _read(store: Store, file: str) -> pa.Table:
    with store.open_table(file) as opened:
        return opened.read().cast(NODES.schema).combine_chunks()
