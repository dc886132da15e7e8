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

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

HASH_BITS = 64
ALL_BITS = (1 << HASH_BITS) - 1
# A table's number travels in the low byte of a bucket's number.
TABLE_BITS = 8
MAX_TABLES = 1 << TABLE_BITS

# Prices of the cost model, measured in seconds on one core of a 2-core AMD EPYC: a row exploded,
# shuffled, sorted and handed to Python; a pair compared among many small buckets, and in a big one.
ROW_SECONDS = 0.6e-6
SMALL_PAIR_SECONDS = 7e-9
BIG_PAIR_SECONDS = 1e-9
# Buckets up to this size are compared together, by shifting; beyond it a FAISS call is cheaper.
SMALL_BUCKET = 128


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

    def comparisons(self, hashes: int) -> float:
        """Pairs expected to share a bucket, summed over the tables, when bits are independent."""
        pairs = hashes * (hashes - 1) / 2
        return pairs * sum(2.0 ** -mask.bit_count() for mask in self.masks)

    def seconds(self, hashes: int) -> float:
        """Core-seconds that a search of so many distinct hashes is expected to take."""
        rows = len(self.masks) * hashes
        comparisons = self.comparisons(hashes)
        is_small = 2 * comparisons <= SMALL_BUCKET * rows  # rows of an average bucket
        price = SMALL_PAIR_SECONDS if is_small else BIG_PAIR_SECONDS
        return rows * ROW_SECONDS + comparisons * price

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
    tables than a bucket's number can name.
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


def choose_plan(hashes: int, radius: int) -> BlockPlan:
    """The plan with the least expected cost for so many distinct hashes.

    More blocks mean longer keys, so fewer comparisons, but more tables, so more rows to shuffle.
    """
    plans = [
        make_plan(radius, blocks)
        for blocks in range(radius + 1, HASH_BITS + 1)
        if comb(blocks, radius) <= MAX_TABLES and (radius or blocks == 1)
    ]
    return min(plans, key=lambda plan: plan.seconds(hashes))


def bucket_numbers(hashes: U64, table: int, plan: BlockPlan) -> U64:
    """Number the bucket of each hash in one table: equal keys, equal numbers; low byte = table.

    Different keys may share a number: such pairs are compared and not emitted.
    """
    # An odd multiplier spreads the key over the high bits (Knuth, TAOCP 3, 6.4: golden ratio).
    mixed = (hashes & plan.mask_array[table]) * np.uint64(0x9E3779B97F4A7C15)
    numbered: U64 = (mixed & ~np.uint64(MAX_TABLES - 1)) | np.uint64(table)
    return numbered


def _spread() -> list[int]:
    """All bit positions in an order that mixes rows and columns of the 8 x 8 DCT block.

    Neighbouring coefficients are correlated, and a block of correlated bits makes long buckets.
    """
    return [index * 37 % HASH_BITS for index in range(HASH_BITS)]
