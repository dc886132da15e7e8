"""Nodes of the graph of near-duplicates, bucket by bucket: made distinct, and met by pairs.

A bucket holds all nodes of some hashes, so what hangs on a hash is looked up within one.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.reasons import MatchReason
from pipeline.match.tables import NODES

Index = npt.NDArray[np.intp]

# What a picture is collected by, as `distinct` takes it.
PICTURE = pa.schema([*NODES.schema, ("texture", pa.int32())])
# What a node shows in a pair, each column with the suffix _a or _b.
SHOWN = ("fingerprint", "hash256", "aspect")
PAIR = pa.schema([("hash_a", pa.int64()), ("hash_b", pa.int64()), ("distance", pa.int32())])
HALF = pa.schema(
    [
        *[NODES.schema.field(name).with_name(f"{name}_a") for name in SHOWN],
        ("hash_b", pa.int64()),
        ("distance", pa.int32()),
    ]
)
WHOLE = pa.schema(
    [
        *[NODES.schema.field(name).with_name(f"{name}_{side}") for side in "ab" for name in SHOWN],
        ("distance", pa.int32()),
    ]
)


def bucket_of(hash64: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each hash, by all of its bits."""
    mixed = hash64.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # as in kernel.send
    return ((mixed >> np.uint64(32)) % np.uint64(buckets)).astype(np.int64)


def distinct(pictures: pa.Table, min_texture: int) -> tuple[pa.Table, list[Account]]:
    """Pictures of one bucket (PICTURE) as rows of NODES, and what became of them.

    One node per fingerprint with at least `min_texture`; where pictures of a fingerprint differ,
    the smallest texture and aspect are taken. Accounts: pictures, searched_pictures,
    and hashes: kept are distinct hash64 of nodes, dropped the other nodes.
    """
    seen, searched = Account("pictures"), Account("searched_pictures")
    hash64 = pictures.column("hash64").to_numpy()
    first, second = _halves(pictures.column("fingerprint"))
    order = np.lexsort((second, first, hash64))
    pictures = pictures.take(pa.array(order))
    hash64, first, second = hash64[order], first[order], second[order]
    starts = _starts(hash64, first, second)
    seen.keep(len(starts))
    seen.drop(MatchReason.SAME_FINGERPRINT, len(hash64) - len(starts))
    if not len(starts):
        return NODES.schema.empty_table(), [seen, searched]
    texture = np.minimum.reduceat(pictures.column("texture").to_numpy(), starts)
    aspect = np.minimum.reduceat(pictures.column("aspect").to_numpy(), starts)
    is_searched = texture >= min_texture
    kept = pictures.take(pa.array(starts[is_searched])).select(NODES.schema.names)
    place = NODES.schema.get_field_index("aspect")
    kept = kept.set_column(place, NODES.schema.field(place), pa.array(aspect[is_searched]))
    searched.keep(kept.num_rows)
    searched.drop(MatchReason.LOW_TEXTURE, len(starts) - kept.num_rows)
    return kept, [seen, searched]


def distinct_hashes(nodes: pa.Table) -> npt.NDArray[np.int64]:
    """The distinct hash64 of the nodes of a bucket, rising."""
    hash64: npt.NDArray[np.int64] = nodes.column("hash64").to_numpy()
    return hash64[_starts(hash64)]


def first_halves(pairs: pa.Table, nodes: pa.Table) -> pa.RecordBatch:
    """Pairs (PAIR) whose hash_a is of this bucket, each with every node of it: HALF."""
    pair, node = _lookup(pairs.column("hash_a"), nodes)
    columns = [nodes.column(name).take(pa.array(node)) for name in SHOWN]
    columns += [pairs.column(name).take(pa.array(pair)) for name in ("hash_b", "distance")]
    return _batch(columns, HALF)


def second_halves(halves: pa.Table, nodes: pa.Table) -> pa.RecordBatch:
    """Pairs (HALF) whose hash_b is of this bucket, each with every node of it: WHOLE."""
    half, node = _lookup(halves.column("hash_b"), nodes)
    columns = [halves.column(f"{name}_a").take(pa.array(half)) for name in SHOWN]
    columns += [nodes.column(name).take(pa.array(node)) for name in SHOWN]
    columns.append(halves.column("distance").take(pa.array(half)))
    return _batch(columns, WHOLE)


def equal_hashes(nodes: pa.Table) -> Iterator[pa.RecordBatch]:
    """Pairs of nodes of a bucket with the same hash64, each once: WHOLE, distance 0."""
    hash64 = nodes.column("hash64").to_numpy()
    left = np.arange(len(hash64))
    shift = 0
    while True:
        shift += 1
        left = left[left + shift < len(hash64)]
        left = left[hash64[left] == hash64[left + shift]]
        if not len(left):
            return
        columns = [
            nodes.column(name).take(pa.array(side))
            for side in (left, left + shift)
            for name in SHOWN
        ]
        columns.append(pa.chunked_array([np.zeros(len(left), np.int32)]))
        yield _batch(columns, WHOLE)


def _lookup(wanted: pa.ChunkedArray, nodes: pa.Table) -> tuple[Index, Index]:
    """Each wanted hash beside every node that has it: positions among both."""
    hash64 = nodes.column("hash64").to_numpy()
    hashes = wanted.to_numpy()
    low = np.searchsorted(hash64, hashes, side="left")
    counts = np.searchsorted(hash64, hashes, side="right") - low
    asked = np.repeat(np.arange(len(hashes)), counts)
    # Positions within each run: 0, 1, .. from where the run starts.
    within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
    return asked, np.repeat(low, counts) + within


def _batch(columns: list[pa.ChunkedArray], schema: pa.Schema) -> pa.RecordBatch:
    table = pa.Table.from_arrays(columns, schema=schema).combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema)


def _halves(ids: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    fixed = ids.cast(pa.binary(16)).combine_chunks()
    words = np.frombuffer(fixed.buffers()[1], dtype=np.uint64).reshape(-1, 2)
    words = words[fixed.offset : fixed.offset + len(fixed)]
    return words[:, 0], words[:, 1]


def _starts(*keys: npt.NDArray[np.generic]) -> Index:
    """Where the runs of equal keys start, in sorted columns."""
    if not len(keys[0]):
        return np.empty(0, np.intp)
    is_new = np.zeros(len(keys[0]), dtype=bool)
    is_new[0] = True
    for key in keys:
        is_new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(is_new)
