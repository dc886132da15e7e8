"""Exact search in lists that fit in memory, by FAISS.

A list of some size is searched by multi-hash: two hashes within r differ in at most floor(r / n)
bits of one of n blocks, so with that many flips the recall is 1; fewer would lose neighbours
without a word. FAISS's radius is strict.
Source: Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012;
FAISS, IndexBinaryMultiHash.
"""

from math import comb
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

# Hash bits -> blocks and bits of each. 64 bits at radius 4 need one flip, 256 at radius 31 too.
_BLOCKS = {64: (3, 21), 256: (16, 16)}
# Microseconds, measured on one core of a 2-core EPYC: a row compared when all are, by hash bits; a
# look-up in a hash table; a row that it gives. At radius 31, PDQ lists of 300,000 and a million
# take 0.7 and 3.4 ms a query flat, 1.0 and 4.9 ms by multi-hash: there 272 look-ups meet one row in
# 240. 64-bit lists at radius 4 take 9 us by multi-hash, up to 300,000 rows at least.
_FLAT_US = {64: 0.0008, 256: 0.0030}
_LOOKUP_US, _MET_US = 0.13, 0.9
# Queries of one call: bounds the memory of its answer.
_QUERY_ROWS = 2048


class Met(NamedTuple):
    """Positions of queries and rows within the radius, with their distance in bits."""

    query: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    distance: npt.NDArray[np.int32]


def flat_is_faster(rows: int, bits: int, radius: int) -> bool:
    """Whether comparing a query with all rows is expected to be no slower than multi-hash."""
    blocks, block_bits = _BLOCKS[bits]
    lookups = blocks * sum(comb(block_bits, k) for k in range(radius // blocks + 1))
    met = rows / 2**block_bits
    return bool(rows * _FLAT_US[bits] <= lookups * (_LOOKUP_US + met * _MET_US))


class HashIndex:
    """Hashes of one length.

    hashes: uint8 [rows, 8 or 32]. radius: inclusive, in bits.
    is_flat: whether all are compared; None: when that is expected to be no slower.
    Memory: the rows; by multi-hash some 100 bytes (64 bits) or 700 (256 bits) for each besides.
    """

    def __init__(
        self, hashes: npt.NDArray[np.uint8], radius: int, is_flat: bool | None = None
    ) -> None:
        faiss.omp_set_num_threads(1)  # Spark already runs one task per core
        bits = 8 * hashes.shape[1]
        self._hashes = np.ascontiguousarray(hashes)
        self._radius = radius
        self.is_flat = flat_is_faster(len(hashes), bits, radius) if is_flat is None else is_flat
        self._index: Any
        if self.is_flat:
            self._index = faiss.IndexBinaryFlat(bits)
        else:
            blocks, block_bits = _BLOCKS[bits]
            self._index = faiss.IndexBinaryMultiHash(bits, blocks, block_bits)
            self._index.nflip = radius // blocks
        if len(hashes):
            self._index.add(self._hashes)

    def search(self, queries: npt.NDArray[np.uint8]) -> Met:
        """All rows within the radius of each query, uint8 [queries, bytes of a hash]."""
        found = []
        for start in range(0, len(queries) if len(self._hashes) else 0, _QUERY_ROWS):
            some = np.ascontiguousarray(queries[start : start + _QUERY_ROWS])
            limits, _, labels = self._index.range_search(some, self._radius + 1)
            counts = np.diff(limits.astype(np.int64))
            query = np.repeat(np.arange(len(some)), counts)
            row = labels.astype(np.intp)
            distance = np.bitwise_count(some[query] ^ self._hashes[row]).sum(axis=1, dtype=np.int32)
            found.append((query + start, row, distance))
        if not found:
            none = np.empty(0, np.intp)
            return Met(none, none, np.empty(0, np.int32))
        return Met(*(np.concatenate(column) for column in zip(*found, strict=True)))
