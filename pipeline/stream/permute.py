"""Permutations of [0, n) named by a key, the same under every version of every library.

NumPy's own generators may change what they give from one version to the next; a saved state says
where in an order a run is, so the order must not.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


def derive_key(*parts: int | str) -> int:
    """64 bits named by the parts: the same on every machine, another for any other parts."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def permutation(size: int, key: int) -> I64:
    """Every number in [0, size) once: int64 [size]. Cost: a sort of whole numbers."""
    numbers = np.arange(size, dtype=np.uint64)
    mixed = mix(numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key))
    # Sorted by their high bits; the low ones hold the number itself, which also breaks ties.
    low = np.uint64((1 << max(size - 1, 0).bit_length()) - 1)
    mixed &= ~low
    mixed |= numbers
    mixed.sort()
    mixed &= low
    return mixed.view(np.int64)


def mix(values: U64) -> U64:
    """Spread every bit of each value over all of its bits, reversibly; changes `values`.

    Source: SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014), with the constants of its variant 13.
    """
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
