"""Names of tags, attributes and metas as numbers, so that kernels compare no strings.

A name's hash is over its ASCII-lower-cased bytes; an unknown name that shares the 60-bit hash of a
known one would be taken for it, at odds that no page will meet by chance.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes

# Products of a hash and the factor keep these bits whether or not they overflow.
HASH_MASK = (1 << 60) - 1
Hashes = npt.NDArray[np.int64]


def hash_of(name: str) -> int:
    """The hash of an ASCII name as written; `hash_name` gives that of the lower-case one."""
    value = 7
    for byte in name.encode("ascii"):
        value = (value * 1_000_003 + byte) & HASH_MASK
    return value


@kernel
def hash_name(data: Bytes, start: int, stop: int) -> int:
    """The hash of data[start:stop] with A-Z taken as a-z."""
    value = 7
    for i in range(start, stop):
        byte = signed(data[i])
        if 65 <= byte <= 90:
            byte += 32
        value = (value * 1_000_003 + byte) & HASH_MASK
    return value


def table(names: dict[str, int]) -> tuple[Hashes, Hashes]:
    """(hashes in rising order, their numbers), both int64, for `number_of`."""
    pairs = sorted((hash_of(name), number) for name, number in names.items())
    if len({value for value, _ in pairs}) < len(pairs):
        raise ValueError("two names share a hash")
    return np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.int64)


@kernel
def number_of(value: int, hashes: Hashes, numbers: Hashes) -> int:
    """The number of a hash in a table; 0 when it is not there."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high) // 2
        if hashes[middle] < value:
            low = middle + 1
        else:
            high = middle
    if low < len(hashes) and hashes[low] == value:
        return signed(numbers[low])
    return 0
