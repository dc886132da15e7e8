"""Block tables: which bits two hashes must share to be compared.

Cut the 64 bits into B blocks. Two hashes that differ in at most r bits differ in at most r blocks,
so they agree on at least p = B - r of them. With one table for every choice of p blocks, keyed by
the bits of those blocks, every pair within r meets in at least one bucket of one table: the search
is exact by construction.
Source: Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling", WWW 2007, section 3.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

HASH_BITS = 64
ALL_BITS = (1 << HASH_BITS) - 1
# Enough for radius 6 and keys of 30 bits; more blocks cost more in the shuffle than they save.
MAX_TABLES = 256
# What a row of the shuffle is: a hash.
ROW_BYTES = 8


class Layout(NamedTuple):
    """An order of a word's bits in which the key of one table is its highest bits.

    forward, backward: uint64 [8, 256], for `kernel.permute`: by byte of the word (lowest first) and
    its value, the bits that it becomes.
    key_bits: how many bits the key has.
    earlier: the masks of the tables before this one, in this order of bits.
    """

    forward: U64
    backward: U64
    key_bits: int
    earlier: U64


class Rates(NamedTuple):
    """Prices of the cost model, in seconds on one core.

    row: a hash sent to a bucket of one table, through the shuffle, and sorted there.
    comparison: two hashes compared in a bucket.
    """

    row: float
    comparison: float


# Measured: a row by the benchmark `match` at 10 million, searched in 5 and in 15 tables (195 and
# 210 core-seconds), Spark's shuffle and the JVM included; a comparison by `match-kernel`.
MEASURED = Rates(row=0.5e-6, comparison=0.8e-9)
# A hash put in its bucket of one table in memory, without the shuffle.
SORTED_ROW_SECONDS = 40e-9


@dataclass
class Work:
    """What a search did. rows: hashes put in buckets, those cut again anew; comparisons: of two
    hashes; sent_bytes: of hashes, through the shuffle."""

    rows: int = 0
    comparisons: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True)
class BlockPlan:
    """How hashes are cut: one bit mask per table.

    radius: largest distance that is found, in bits.
    blocks, agree: B and p = B - radius.
    masks: the bits a table is keyed by, one mask per table.
    """

    radius: int
    blocks: int
    agree: int
    masks: tuple[int, ...]

    @cached_property
    def mask_array(self) -> U64:
        """The masks as uint64 [tables]."""
        return np.array(self.masks, dtype=np.uint64)

    @cached_property
    def meetings(self) -> float:
        """In how many tables two hashes of independent bits are expected to share a bucket."""
        return sum(2.0 ** -mask.bit_count() for mask in self.masks)

    def comparisons(self, hashes: int) -> float:
        """Pairs expected to share a bucket, summed over the tables, when bits are independent."""
        return hashes * (hashes - 1) / 2 * self.meetings

    def shuffle_bytes(self, hashes: int) -> int:
        """Bytes of hashes that a search sends to buckets."""
        return len(self.masks) * hashes * ROW_BYTES

    def seconds(self, hashes: int, rates: Rates = MEASURED) -> float:
        """Core-seconds that a search of so many distinct hashes is expected to take."""
        rows = len(self.masks) * hashes
        return rows * rates.row + self.comparisons(hashes) * rates.comparison

    def layout(self, table: int) -> Layout:
        """The order of bits in which a table is searched."""
        mask = self.masks[table]
        order = [b for b in range(HASH_BITS) if not mask >> b & 1]
        order += [b for b in range(HASH_BITS) if mask >> b & 1]
        places = {bit: place for place, bit in enumerate(order)}
        earlier = [sum(1 << places[b] for b in places if m >> b & 1) for m in self.masks[:table]]
        return Layout(
            _moves([places[b] for b in range(HASH_BITS)]),
            _moves(order),
            mask.bit_count(),
            np.array(earlier, dtype=np.uint64),
        )

    def first_table(self, differing: U64) -> npt.NDArray[np.int64]:
        """The first table in which a pair agrees; len(masks) when there is none.

        differing: XOR of the two hashes of each pair. int64 of the same length.
        """
        first = np.full(len(differing), len(self.masks), dtype=np.int64)
        open_pairs = np.arange(len(differing))
        for table, mask in enumerate(self.mask_array):
            agrees = (differing[open_pairs] & mask) == 0
            first[open_pairs[agrees]] = table
            open_pairs = open_pairs[~agrees]
            if not len(open_pairs):
                break
        return first


def make_plan(radius: int, blocks: int, free: int = ALL_BITS) -> BlockPlan:
    """Cut the bits of the mask `free` into `blocks` blocks.

    Raises ValueError when there is no block left to agree on, fewer bits than blocks, or more
    than MAX_TABLES tables.
    """
    bits = [bit for bit in _spread() if free >> bit & 1]
    agree = blocks - radius
    if radius < 0 or agree < 1 or blocks > len(bits):
        raise ValueError(f"cannot cut {len(bits)} bits into {blocks} blocks for radius {radius}")
    if comb(blocks, agree) > MAX_TABLES:
        raise ValueError(f"{comb(blocks, agree)} tables, more than {MAX_TABLES}")
    edges = [len(bits) * i // blocks for i in range(blocks + 1)]
    block_masks = [sum(1 << bit for bit in bits[low:high]) for low, high in pairwise(edges)]
    return BlockPlan(
        radius, blocks, agree, tuple(sum(chosen) for chosen in combinations(block_masks, agree))
    )


def choose_plan(hashes: int, radius: int, rates: Rates = MEASURED) -> BlockPlan:
    """The plan with the least expected cost for so many distinct hashes.

    More blocks mean longer keys, so fewer comparisons, but more tables, so more rows to shuffle.
    """
    plans = [
        make_plan(radius, blocks)
        for blocks in range(radius + 1, HASH_BITS + 1)
        if comb(blocks, radius) <= MAX_TABLES and (radius or blocks == 1)
    ]
    return min(plans, key=lambda plan: plan.seconds(hashes, rates))


def inner_plan(rows: int, pairs: float, radius: int, free: int) -> BlockPlan | None:
    """How to cut a bucket, whose hashes are equal outside `free`, again; None: not at all.

    rows: hashes in the bucket; pairs: that are to be compared in it. None when comparing them all
    is expected to be no dearer.
    """
    best, least = None, pairs * MEASURED.comparison
    for blocks in range(radius + 1, min(radius + 4, free.bit_count() + 1)):
        if radius == 0 or comb(blocks, radius) > MAX_TABLES:
            continue
        plan = make_plan(radius, blocks, free)
        seconds = len(plan.masks) * rows * SORTED_ROW_SECONDS
        seconds += pairs * plan.meetings * MEASURED.comparison
        if seconds < least:
            best, least = plan, seconds
    return best


def _moves(places: list[int]) -> U64:
    """uint64 [8, 256]: what each value of each byte becomes when bit b goes to places[b]."""
    values = np.arange(256)
    moved = np.zeros((8, 256), dtype=np.uint64)
    for bit, place in enumerate(places):
        moved[bit // 8][(values >> bit % 8 & 1) == 1] |= np.uint64(1 << place)
    return moved


def _spread() -> list[int]:
    """All bit positions in an order that mixes rows and columns of the 8 x 8 DCT block.

    Neighbouring coefficients are correlated, and a block of correlated bits makes long buckets.
    """
    return [index * 37 % HASH_BITS for index in range(HASH_BITS)]
