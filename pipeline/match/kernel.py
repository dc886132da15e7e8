"""Pairs within the radius inside buckets: NumPy for the many small ones, FAISS for the big ones."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from pipeline.match.blocks import (
    ALL_BITS,
    MAX_TABLES,
    SMALL_BUCKET,
    U64,
    BlockPlan,
    bucket_numbers,
    choose_plan,
    make_plan,
)

Index = npt.NDArray[np.intp]
Positions = tuple[Index, Index]

# Queries of one FAISS call: bounds the memory of its answer.
_QUERY_ROWS = 2048


class Pairs(NamedTuple):
    """Pairs of positions in the searched arrays, with their distance in bits."""

    left: Index
    right: Index
    distance: npt.NDArray[np.int32]


def search_buckets(buckets: U64, hashes: U64, plan: BlockPlan, cap: int) -> Iterator[Pairs]:
    """All pairs within `plan.radius` whose first common table is the one they are met in.

    buckets: bucket numbers, sorted; equal for rows of one table with equal key, the table's number
        in the low byte (`blocks.bucket_numbers`).
    hashes: uint64 beside them.
    cap: a bucket with more rows is cut again by its remaining bits, which keeps the search exact.
    Yields left < right; over all buckets of all tables every pair once. Memory: a few arrays of
    the input's length, and the answer to some thousand queries.
    """
    starts, lengths = _runs(buckets)
    for pair in _shifted(hashes, starts, lengths, plan.radius):
        yield from _first_only(buckets, hashes, plan, *pair)
    for run in np.flatnonzero(lengths > SMALL_BUCKET):
        start, length = int(starts[run]), int(lengths[run])
        free = ALL_BITS & ~plan.masks[int(buckets[start]) % MAX_TABLES]
        for left, right in _big(hashes[start : start + length], free, plan.radius, cap):
            yield from _first_only(buckets, hashes, plan, left + start, right + start)


def self_join(hashes: U64, radius: int, plan: BlockPlan | None = None, cap: int = 4096) -> Pairs:
    """All pairs within `radius` of an array that fits in memory: left < right, each pair once."""
    plan = plan or choose_plan(len(hashes), radius)
    found = []
    for table in range(len(plan.masks)):
        buckets = bucket_numbers(hashes, table, plan)
        order = np.argsort(buckets, kind="stable")
        for pairs in search_buckets(buckets[order], hashes[order], plan, cap):
            left, right = order[pairs.left], order[pairs.right]
            found.append(Pairs(np.minimum(left, right), np.maximum(left, right), pairs.distance))
    return _joined(found)


def flat_search(queries: U64, hashes: U64, radius: int) -> Pairs:
    """Brute force: query position, hash position and distance of all within `radius`."""
    index = faiss.IndexBinaryFlat(64)
    index.add(_bytes(hashes))
    found = []
    for start in range(0, len(queries), _QUERY_ROWS):
        left, right = _range_search(index, queries[start : start + _QUERY_ROWS], radius)
        left = left + start
        distance = np.bitwise_count(queries[left] ^ hashes[right]).astype(np.int32)
        found.append(Pairs(left, right, distance))
    return _joined(found)


def _first_only(
    buckets: U64, hashes: U64, plan: BlockPlan, left: Index, right: Index
) -> Iterator[Pairs]:
    """Of the close pairs met in a bucket, those that met in no table before."""
    differing = hashes[left] ^ hashes[right]
    table = (buckets[left] % np.uint64(MAX_TABLES)).astype(np.int64)
    first = plan.first_table(differing) == table
    if first.any():
        distance = np.bitwise_count(differing[first]).astype(np.int32)
        yield Pairs(left[first], right[first], distance)


def _runs(keys: U64) -> Positions:
    """Starts and lengths of the runs of equal values."""
    if not len(keys):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return starts, np.diff(np.r_[starts, len(keys)])


def _shifted(hashes: U64, starts: Index, lengths: Index, radius: int) -> Iterator[Positions]:
    """Close pairs of all small runs at once: each row against the one `shift` rows on.

    One pass per shift, over the rows whose run reaches that far; no Python call per run.
    """
    small = (lengths > 1) & (lengths <= SMALL_BUCKET)
    starts, lengths = starts[small], lengths[small]
    if not len(starts):
        return
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = np.repeat(starts, lengths) + offsets
    # Rows after each one in its run, longest first: a pass is then a prefix, not a selection.
    after = np.repeat(lengths, lengths) - 1 - offsets
    order = np.argsort(-after, kind="stable")
    rows, after = rows[order], after[order]
    for shift in range(1, int(after[0]) + 1):
        reaching = int(np.searchsorted(-after, -shift, side="right"))
        left = rows[:reaching]
        close = np.bitwise_count(hashes[left] ^ hashes[left + shift]) <= radius
        if close.any():
            left = left[close]
            yield left, left + shift


def _big(hashes: U64, free: int, radius: int, cap: int) -> Iterator[Positions]:
    """Close pairs of one bucket, left < right; all of those that agree outside the bits `free`."""
    plan = _inner_plan(len(hashes), free, radius) if len(hashes) > cap else None
    if plan is None:
        yield from _flat(hashes, radius)
        return
    for table, mask in enumerate(plan.mask_array):
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        for met in _inner_table(hashes[order], keys[order], free & ~int(mask), radius, cap):
            left, right = order[met[0]], order[met[1]]
            first = plan.first_table(hashes[left] ^ hashes[right]) == table
            left, right = left[first], right[first]
            yield np.minimum(left, right), np.maximum(left, right)


def _inner_table(hashes: U64, keys: U64, free: int, radius: int, cap: int) -> Iterator[Positions]:
    starts, lengths = _runs(keys)
    yield from _shifted(hashes, starts, lengths, radius)
    for run in np.flatnonzero(lengths > SMALL_BUCKET):
        start, length = int(starts[run]), int(lengths[run])
        for left, right in _big(hashes[start : start + length], free, radius, cap):
            yield left + start, right + start


def _inner_plan(rows: int, free: int, radius: int) -> BlockPlan | None:
    """How to cut an oversized bucket by its remaining bits; None when too few remain."""
    try:
        plans = [make_plan(radius, blocks, free) for blocks in (radius + 1, radius + 2)]
    except ValueError:
        return None
    return min(plans, key=lambda plan: plan.seconds(rows))


def _flat(hashes: U64, radius: int) -> Iterator[Positions]:
    """Close pairs by FAISS, some thousand queries at a time against the rows from there on."""
    for start in range(0, len(hashes), _QUERY_ROWS):
        index = faiss.IndexBinaryFlat(64)
        index.add(_bytes(hashes[start:]))
        left, right = _range_search(index, hashes[start : start + _QUERY_ROWS], radius)
        once = left < right
        yield left[once] + start, right[once] + start


def _range_search(index: Any, queries: U64, radius: int) -> Positions:
    # FAISS's radius is strict: it gives distances under, not up to it.
    limits, _, labels = index.range_search(_bytes(queries), radius + 1)
    counts = np.diff(limits.astype(np.int64))
    return np.repeat(np.arange(len(queries)), counts), labels.astype(np.intp)


def _bytes(hashes: U64) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)


def _joined(found: list[Pairs]) -> Pairs:
    if not found:
        empty = np.empty(0, np.intp)
        return Pairs(empty, empty, np.empty(0, np.int32))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))
