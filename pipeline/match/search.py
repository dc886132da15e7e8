"""All pairs within the radius of hashes that are in memory: table by table, or by brute force.

A pair is emitted by the first table in which its hashes agree, and so once. A bucket over the cap
is cut again by its remaining bits, in the same manner, which keeps the search exact.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.match import kernel
from pipeline.match.blocks import ALL_BITS, U64, BlockPlan, Layout, Work, choose_plan, inner_plan

# Pairs that a pass of the kernel finds before it hands them over.
_ROOM = 1 << 16
# Queries of one FAISS call: bounds the memory of its answer.
_QUERY_ROWS = 2048


class Pairs(NamedTuple):
    """Pairs of hashes, uint64 of one length each."""

    left: U64
    right: U64

    @property
    def distance(self) -> npt.NDArray[np.int32]:
        """In bits."""
        bits: npt.NDArray[np.int32] = np.bitwise_count(self.left ^ self.right).astype(np.int32)
        return bits


def search_table(
    hashes: U64,
    plan: BlockPlan,
    table: int,
    cap: int,
    queries: U64 | None = None,
    work: Work | None = None,
    free: int = ALL_BITS,
) -> Iterator[Pairs]:
    """Pairs within `plan.radius` whose first common table is this one.

    hashes: distinct, in any order.
    cap: a bucket of more hashes than this is cut again.
    queries: distinct hashes; when given, pairs are of a query (left) and a hash (right), which may
        be equal; else of two of the hashes.
    work: is added to.
    free: bits in which hashes may differ at all.

    Over all tables of the plan every pair once. Memory: three times that of hashes and queries, as
    much again for a bucket that is cut again, and some thousand pairs. Comparisons of a bucket that
    is cut again: those of `blocks.inner_plan`, as long as its remaining bits are independent.
    """
    work = work or Work()
    layout = plan.layout(table)
    rows = _sorted(hashes if queries is None else queries, layout.forward)
    columns = rows if queries is None else _sorted(hashes, layout.forward)
    work.rows += len(rows) + (0 if queries is None else len(columns))
    is_self = queries is None
    rest = free & ~plan.masks[table]
    most = float(cap) ** 2
    passes = [(rows, columns, most)]
    for low, high, first, last in kernel.big_buckets(rows, columns, is_self, layout.key_bits, most):
        bucket = rows[low:high], columns[first:last]
        inner = _cut_again(len(bucket[0]), len(bucket[1]), is_self, plan.radius, rest)
        if inner is None:
            passes.append((*bucket, np.inf))
            continue
        left, right = (kernel.permute(words, layout.backward) for words in bucket)
        asked = None if is_self else left
        for inner_table in range(len(inner.masks)):
            for pairs in search_table(right, inner, inner_table, cap, asked, work, rest):
                first_met = plan.first_table(pairs.left ^ pairs.right) == table
                if first_met.any():
                    yield Pairs(pairs.left[first_met], pairs.right[first_met])
    for left, right, most in passes:
        for found in _compared(left, right, is_self, layout, most, plan.radius, work):
            yield Pairs(*(kernel.permute(words, layout.backward) for words in found))


def self_join(hashes: U64, radius: int, plan: BlockPlan | None = None, cap: int = 4096) -> Pairs:
    """All pairs within `radius` of distinct hashes, each pair once."""
    plan = plan or choose_plan(len(hashes), radius)
    return _joined(
        [p for table in range(len(plan.masks)) for p in search_table(hashes, plan, table, cap)]
    )


def flat_search(queries: U64, hashes: U64, radius: int) -> Pairs:
    """Brute force by FAISS: all pairs of a query and a hash within `radius`, equal ones too."""
    import faiss  # here, as it takes a second to load and most searches need none

    index = faiss.IndexBinaryFlat(64)
    index.add(_bytes(hashes))
    found = []
    for start in range(0, len(queries), _QUERY_ROWS):
        asked = queries[start : start + _QUERY_ROWS]
        # FAISS's radius is strict: it gives distances under, not up to it.
        limits, _, labels = index.range_search(_bytes(asked), radius + 1)
        found.append(Pairs(np.repeat(asked, np.diff(limits.astype(np.int64))), hashes[labels]))
    return _joined(found)


def _compared(
    rows: U64,
    columns: U64,
    is_self: bool,
    layout: Layout,
    most: float,
    radius: int,
    work: Work,
) -> Iterator[tuple[U64, U64]]:
    """What `kernel.compare` finds, some thousand pairs at a time."""
    state = np.zeros(kernel.STATE_LENGTH, dtype=np.int64)
    left, right = np.empty((2, _ROOM), dtype=np.uint64)
    count = _ROOM
    while count == _ROOM:
        count = kernel.compare(
            rows,
            columns,
            is_self,
            layout.key_bits,
            most,
            radius,
            layout.earlier,
            state,
            left,
            right,
        )
        if count:
            yield left[:count], right[:count]
    work.comparisons += int(state[kernel.COMPARED])


def _cut_again(rows: int, columns: int, is_self: bool, radius: int, free: int) -> BlockPlan | None:
    if is_self:
        return inner_plan(rows, rows * (rows - 1) / 2, radius, free)
    return inner_plan(rows + columns, rows * columns, radius, free)


def _sorted(hashes: U64, forward: U64) -> U64:
    moved = kernel.permute(hashes, forward)
    moved.sort()
    return moved


def _bytes(hashes: U64) -> Any:
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8)


def _joined(found: list[Pairs]) -> Pairs:
    if not found:
        return Pairs(np.empty(0, np.uint64), np.empty(0, np.uint64))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))
