"""Permutations of [0, n) that are functions: any position is looked up without making the rest.

They are this module's own, so that the order of a run is the same under every version of every
library, on every processor.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_ROUNDS = 6
# Odd multipliers of the finaliser of MurmurHash3 (A. Appleby, 2011, public domain): each round
# spreads every bit of one half over the other.
_FIRST = np.uint64(0xFF51AFD7ED558CCD)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)
# Positions worked on at a time, so that they stay in the cache.
_BLOCK = 1 << 14


def derive_key(*parts: int | str) -> int:
    """64 bits named by the parts: the same on every machine, another for any other parts."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def permute(positions: I64, size: int, key: int) -> I64:
    """Where a permutation of [0, size) sends each position: int64, as many.

    positions: each in [0, size). Equal arguments give equal results everywhere.
    Cost: some 30 operations a position and, on average, under twice that: linear, and nothing is
    kept. Source: an alternating Feistel network over the bits, walked along its cycle until it is
    inside (J. Black, P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
    """
    if size <= 1:
        return np.zeros(len(positions), dtype=np.int64)
    bits = (size - 1).bit_length()
    keys = [np.uint64(derive_key(key, number)) for number in range(_ROUNDS)]
    found = np.empty(len(positions), dtype=np.uint64)
    for start in range(0, len(positions), _BLOCK):
        block = positions[start : start + _BLOCK].astype(np.uint64)
        found[start : start + _BLOCK] = _walked(block, size, bits, keys)
    return found.view(np.int64)


def permutation(size: int, key: int) -> I64:
    """The whole of `permute`: int64 [size]."""
    return permute(np.arange(size, dtype=np.int64), size, key)


def _walked(values: U64, size: int, bits: int, keys: list[np.uint64]) -> U64:
    values = _feistel(values, bits, keys)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        moved = _feistel(values[outside], bits, keys)
        values[outside] = moved
        outside = outside[moved >= size]
    return values


def _feistel(values: U64, bits: int, keys: list[np.uint64]) -> U64:
    """A bijection of [0, 2^bits): halves take turns in being changed by a hash of the other."""
    low_bits = bits // 2 or 1
    high_bits = bits - low_bits
    shift = np.uint64(low_bits)
    low = values & np.uint64((1 << low_bits) - 1)
    high = values >> shift
    for number, key in enumerate(keys):
        if number % 2:
            low ^= _hashed(high, key, low_bits)
        elif high_bits:
            high ^= _hashed(low, key, high_bits)
    high <<= shift
    high |= low
    return high


def _hashed(half: U64, key: np.uint64, bits: int) -> U64:
    mixed = half ^ key
    mixed *= _FIRST
    mixed ^= mixed >> _SHIFT
    mixed *= _SECOND
    mixed >>= np.uint64(64 - bits)
    return mixed
