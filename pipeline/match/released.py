"""Pictures of a run that an earlier release holds: the run is looked up in the registry.

Of the new side, a row of 12 bytes per picture and range of keys it looks into crosses one shuffle;
the registry stays where it lies. A task reads, of the files of its range, the keys (8 bytes a row,
packed) of the row groups that its look-ups fall into, and whole rows only of those where a hash is
within the radius.

Cost: for each new picture 67 look-ups at radius 3 to 5 (see `registry`), each of which compares
with released / 2^21 hashes: nanoseconds x new x released / 31,000. Reading: with few new pictures,
the row groups they hit, at most 67 each; with more than some thousand per release file, the
keys of the whole registry, 24 bytes a picture, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, log2
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.errors import InputError
from pipeline.match.blocks import U64
from pipeline.match.registry import (
    HASH_TABLES,
    TABLES,
    KeyTable,
    Registry,
    Release,
    as_words,
    flip_masks,
    top_bits,
)
from pipeline.match.verify import verify

MAX_RADIUS = 8
_ROUTES_DDL = "range int, word long"
_HITS = pa.schema(
    [
        ("table", pa.int32()),
        ("word", pa.int64()),
        ("distance", pa.int32()),
        ("release", pa.string()),
        ("image_id", pa.binary()),
        ("fingerprint", pa.binary()),
        ("hash256", pa.binary()),
        ("aspect", pa.float64()),
    ]
)
# Columns of the registry that are read where a hash is within the radius.
_TOLD = [*_HITS.names[4:], "texture"]
_HITS_DDL = (
    "table int, word long, distance int, release string, image_id binary, fingerprint binary, "
    "hash256 binary, aspect double"
)
_NEAREST_DDL = "fingerprint binary, nearest struct<{}>".format(
    "distance: int, image_id: binary, distance256: int, release: string"
)
# Look-ups that a task holds at a time: 16 bytes each, and as much to sort them.
_LOOKUPS = 4_000_000
# What a range of keys is to hold, so that a task stays within some hundred megabytes and minutes.
_NEW_PER_RANGE = 300_000
_RELEASED_PER_RANGE = 20_000_000
_MAX_RANGE_BITS = 12


@dataclass(frozen=True)
class Search:
    """What the tasks look up in, and how. Picklable.

    radius: of hash64, in bits, at most MAX_RADIUS. min_texture: flatter released pictures match by
    fingerprint alone. range_bits: each table is searched in 2^range_bits ranges of keys.
    """

    registry: Registry
    radius: int
    min_texture: int
    range_bits: int = 0


def range_bits(new: int, released: int) -> int:
    """Into how many ranges each table is cut, as a power of two."""
    wanted = max(new / _NEW_PER_RANGE, released / _RELEASED_PER_RANGE, 1)
    return min(_MAX_RANGE_BITS, ceil(log2(wanted)))


def released_neighbors(
    nodes: DataFrame, search: Search, radius256: int, aspect_tolerance: float
) -> DataFrame:
    """Rows of RELEASED_NEIGHBORS: the nearest released picture of each node that has one.

    nodes: fingerprint, hash64, hash256, texture, aspect; one per fingerprint. A released picture
    with the same fingerprint is one at distance 0; others are judged as `verify` judges.
    """
    hits = find(nodes, search).persist()
    same = (
        hits.where(F.col("table") == 0)
        .join(nodes.select("fingerprint"), "fingerprint")
        .select(
            "fingerprint",
            F.struct(
                F.lit(0).alias("distance"),
                "image_id",
                F.lit(0).alias("distance256"),
                "release",
            ).alias("nearest"),
        )
    )
    new = nodes.where(F.col("texture") >= search.min_texture).select(
        F.col("hash64").alias("word"),
        F.col("fingerprint").alias("fingerprint_a"),
        F.col("hash256").alias("hash256_a"),
        F.col("aspect").alias("aspect_a"),
    )
    renamed = {name: f"{name}_b" for name in ("fingerprint", "hash256", "aspect")}
    judge = partial(_judged, radius256=radius256, aspect_tolerance=aspect_tolerance)
    alike = (
        hits.where(F.col("table") > 0)
        .withColumnsRenamed(renamed)
        .join(new, "word")
        .mapInArrow(judge, _NEAREST_DDL)
    )
    return (
        same.unionByName(alike)
        .groupBy("fingerprint")
        .agg(F.min("nearest").alias("nearest"))
        .select(
            "fingerprint",
            F.col("nearest.image_id").alias("released_image_id"),
            "nearest.release",
            "nearest.distance",
            "nearest.distance256",
        )
    )


def find(nodes: DataFrame, search: Search) -> DataFrame:
    """All hits of nodes in the registry, by `search_range`; columns as _HITS.

    `word` is the node's hash64; for table 0 the head of its fingerprint.
    """
    ranges = len(TABLES) << search.range_bits
    return (
        nodes.select("fingerprint", "hash64", "texture")
        .mapInArrow(partial(_routes, search=search), _ROUTES_DDL)
        .repartitionById(ranges, "range")
        .mapInArrow(partial(_search_task, search=search), _HITS_DDL)
    )


def _routes(batches: Iterator[pa.RecordBatch], search: Search) -> Iterator[pa.RecordBatch]:
    """Each node once for every range of keys it looks into."""
    bits = search.range_bits
    for batch in batches:
        has_texture = batch.column("texture").to_numpy() >= search.min_texture
        for number, table in enumerate(TABLES):
            values = batch.column(table.column)
            if table in HASH_TABLES:
                values = values.filter(pa.array(has_texture))
            words = table.words(values)
            for mask in flip_masks(bits, min(bits, table.flips(search.radius))).astype(np.int64):
                ranges = (number << bits) + (top_bits(words, bits) ^ mask)
                plain = values if table in HASH_TABLES else pa.array(words.view(np.int64))
                yield pa.RecordBatch.from_arrays(
                    [pa.array(ranges.astype(np.int32)), plain], names=["range", "word"]
                )


def _search_task(batches: Iterator[pa.RecordBatch], search: Search) -> Iterator[pa.RecordBatch]:
    by_range: dict[int, list[npt.NDArray[np.int64]]] = {}
    for batch in batches:
        ranges = batch.column("range").to_numpy()
        words = batch.column("word").to_numpy()
        for number in np.unique(ranges).tolist():
            by_range.setdefault(number, []).append(words[ranges == number])
    for number, found in sorted(by_range.items()):
        table, prefix = number >> search.range_bits, number & ((1 << search.range_bits) - 1)
        words = np.unique(np.concatenate(found))
        yield from search_range(search, table, prefix, words)


def search_range(
    search: Search, number: int, prefix: int, words: npt.NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    """Released rows within the radius of some words, by one table and range of its keys.

    number: of the table. prefix: the first `range_bits` bits of the keys of the range.
    words: distinct hash64, or for table 0 heads of fingerprints, int64.
    Over all ranges of the hash tables, every pair within the radius comes once: from the first
    table whose block differs in no more bits than are flipped. Table 0 gives equal heads. Rows of
    _HITS. Raises InputError when a file that the registry names is missing or damaged.
    """
    table = TABLES[number]
    radius = search.radius if table in HASH_TABLES else 0
    flips = table.flips(search.radius)
    masks = flip_masks(table.bits, flips) if flips else np.zeros(1, np.uint64)
    step = max(1, _LOOKUPS // len(masks))
    for start in range(0, len(words), step):
        some = words[start : start + step]
        turned = table.words(pa.array(some)) if table in HASH_TABLES else some.view(np.uint64)
        keys, rows = _lookups(turned, table, masks, prefix, search.range_bits)
        for release in search.registry.releases:
            for path in release.files(table, prefix, search.range_bits):
                for hits in _in_file(search, path, table, keys, turned[rows], radius, flips):
                    yield _told(hits, number, some[rows[hits.asked]], release, search)


def _lookups(
    turned: U64, table: KeyTable, masks: U64, prefix: int, bits: int
) -> tuple[U64, npt.NDArray[np.intp]]:
    """Keys to look up that are in the range, sorted, and which word each is of."""
    own = turned >> np.uint64(table.shift)
    keys = own[:, None] ^ masks[None, :]
    if bits:
        row, flip = np.nonzero((keys >> np.uint64(table.bits - bits)) == prefix)
        keys = keys[row, flip]
    else:
        row = np.repeat(np.arange(len(turned)), len(masks))
        keys = keys.ravel()
    order = np.argsort(keys, kind="stable")
    return keys[order], row[order]


@dataclass(frozen=True)
class _Hits:
    """rows: whole released rows; asked: the look-up each was found by; distance: in bits."""

    rows: pa.Table
    asked: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int32]


def _in_file(
    search: Search,
    path: str,
    table: KeyTable,
    keys: U64,
    words: U64,
    radius: int,
    flips: int,
) -> Iterator[_Hits]:
    """Hits in one file, row group by row group."""
    store = search.registry.store
    try:
        # Column chunks are asked for as they are wanted: read-ahead would read the whole file.
        with store.fs.open(store.path(path), "rb", cache_type="none") as file:
            parquet = pq.ParquetFile(file)
            place = parquet.schema_arrow.get_field_index("key")
            for group in range(parquet.num_row_groups):
                ends = parquet.metadata.row_group(group).column(place).statistics
                low, high = as_words(np.array([ends.min, ends.max], np.int64)) >> np.uint64(
                    table.shift
                )
                first = int(np.searchsorted(keys, low))
                last = int(np.searchsorted(keys, high, side="right"))
                if first == last:
                    continue
                column = parquet.read_row_group(group, columns=["key"]).column("key")
                held = as_words(column.combine_chunks().to_numpy())
                found = _near(held, keys[first:last], words[first:last], table, radius, flips)
                if len(found[0]):
                    rows = parquet.read_row_group(group, columns=_TOLD).take(pa.array(found[0]))
                    yield _Hits(rows, found[1] + first, found[2])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{store.path(path)}, a file of the registry: {error}") from None


def _near(
    held: U64, keys: U64, words: U64, table: KeyTable, radius: int, flips: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Positions in `held` and `keys` of pairs that are this table's to tell, and distances."""
    from pipeline.match.near_kernel import near_in_order

    held_at = np.empty(len(held), np.int64)
    asked_at = np.empty(len(held), np.int64)
    found: list[tuple[Any, Any, Any]] = []
    done = 0
    limits = np.uint64(table.shift), np.uint64(radius)
    while done < len(keys):
        count, done = near_in_order(held, keys, words, *limits, done, held_at, asked_at)
        left, right = held_at[:count].copy(), asked_at[:count].copy()
        differing = held[left] ^ words[right]
        first = ~_told_before(differing, table, flips)
        distance = np.bitwise_count(differing[first]).astype(np.int32)
        found.append((left[first], right[first], distance))
    left, right, distance = (np.concatenate(c) for c in zip(*found, strict=True))
    return left, right, distance


def _told_before(differing: U64, table: KeyTable, flips: int) -> npt.NDArray[np.bool_]:
    """Which pairs an earlier table finds. differing: XOR of words as this table turns them."""
    told = np.zeros(len(differing), bool)
    for earlier in HASH_TABLES if table in HASH_TABLES else ():
        if earlier is table:
            break
        # Where the earlier table's key lies in words that are turned for this one.
        turn = (earlier.start - table.start) % 64
        there = (differing << np.uint64(turn)) | (differing >> np.uint64(64 - turn))
        told |= np.bitwise_count(there >> np.uint64(earlier.shift)) <= flips
    return told


def _told(
    hits: _Hits, number: int, words: npt.NDArray[np.int64], release: Release, search: Search
) -> pa.RecordBatch:
    """Hits as rows of _HITS; in hash tables, of pictures with enough texture."""
    rows = hits.rows
    batch = pa.table(
        {
            "table": pa.array(np.full(rows.num_rows, number, np.int32)),
            "word": pa.array(words),
            "distance": pa.array(hits.distance),
            "release": pa.array([release.name] * rows.num_rows, pa.string()),
            **{name: rows.column(name) for name in _HITS.names[4:]},
        }
    )
    if number:
        has_texture = rows.column("texture").to_numpy() >= search.min_texture
        batch = batch.filter(pa.array(has_texture))
    whole = batch.cast(_HITS).combine_chunks().to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], _HITS)


def _judged(
    batches: Iterator[pa.RecordBatch], radius256: int, aspect_tolerance: float
) -> Iterator[pa.RecordBatch]:
    """Rows of _NEAREST_DDL for the candidate pairs that `verify` accepts; a is the new side."""
    for batch in batches:
        (judged,) = verify(iter([batch]), radius256, aspect_tolerance)
        kept = judged.column("reason").is_null()
        columns = [
            batch.column("distance"),
            batch.column("image_id"),
            judged.column("distance256"),
            batch.column("release"),
        ]
        nearest = pa.StructArray.from_arrays(
            columns, ["distance", "image_id", "distance256", "release"]
        )
        found = pa.RecordBatch.from_arrays(
            [batch.column("fingerprint_a"), nearest], names=["fingerprint", "nearest"]
        )
        yield found.filter(kept)
