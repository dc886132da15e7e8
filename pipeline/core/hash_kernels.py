"""Sets of 64-bit hashes with a flag byte each, searched inside kernels."""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed

Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.uint8]

_NONE = np.uint64(0)


@kernel
def put(keys: Keys, flags: Flags, hashes: Keys, values: Flags) -> None:
    """Add values[i] to the flags of hashes[i]. keys: zeros at first, a power of two of them, more
    than there are hashes."""
    mask = np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        wanted = hashes[i] | np.uint64(hashes[i] == _NONE)
        at = wanted & mask
        while keys[at] != _NONE and keys[at] != wanted:
            at = (at + np.uint64(1)) & mask
        keys[at] = wanted
        flags[at] |= values[i]


@kernel
def get(keys: Keys, flags: Flags, wanted: np.uint64) -> int:
    """The flags of a hash; 0 for one that is not there."""
    mask = np.uint64(len(keys) - 1)
    wanted |= np.uint64(wanted == _NONE)
    at = wanted & mask
    while keys[at] != _NONE:
        if keys[at] == wanted:
            return signed(flags[at])
        at = (at + np.uint64(1)) & mask
    return 0


class HashTable:
    """The table itself: `keys` and `flags` as `put` leaves them, at most half full."""

    def __init__(self, hashes: Keys, values: Flags) -> None:
        size = 1 << max(4, int(2 * len(hashes)).bit_length())
        self.keys = np.zeros(size, np.uint64)
        self.flags = np.zeros(size, np.uint8)
        put(self.keys, self.flags, np.ascontiguousarray(hashes), np.ascontiguousarray(values))
