"""Names of tags, attributes and metas as numbers, so that kernels compare no strings.

A name's hash is over its ASCII-lower-cased bytes; an unknown name that shares the 60-bit hash of a
known one would be taken for it, at odds that no page will meet by chance.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.words import last_word, load_word, to_lower

Hashes = npt.NDArray[np.int64]

# Source: Steele and Flood 2021, "Computationally easy, spectrally good multipliers", 64 bits.
_FACTOR, _SEED = np.uint64(0xD1342543DE82EF95), np.uint64(0x9E3779B97F4A7C15)
_SHIFT, _DROPPED_BITS = np.uint64(32), np.uint64(4)
_NO_HASH = -1


def hash_of(name: str) -> int:
    """The hash of an ASCII name as written; `hash_name` gives that of the lower-case one."""
    return int(hash_exact(np.frombuffer(name.encode("ascii"), np.uint8), 0, len(name)))


@kernel
def _mix(value: np.uint64, word: np.uint64) -> np.uint64:
    value = (value ^ word) * _FACTOR
    return value ^ value >> _SHIFT


@kernel
def hash_name(data: Bytes, start: int, stop: int) -> int:
    """The hash of data[start:stop] with A-Z taken as a-z: 0 to 2**60 - 1."""
    value, at = _SEED ^ np.uint64(stop - start), start
    while at + 8 <= stop:
        value = _mix(value, to_lower(load_word(data, at)))
        at += 8
    if at < stop:
        value = _mix(value, to_lower(last_word(data, at, stop)))
    return signed(value >> _DROPPED_BITS)


@kernel
def hash_exact(data: Bytes, start: int, stop: int) -> int:
    """The hash of data[start:stop] as it is; that of `hash_name` when no byte of it is A-Z."""
    value, at = _SEED ^ np.uint64(stop - start), start
    while at + 8 <= stop:
        value = _mix(value, load_word(data, at))
        at += 8
    if at < stop:
        value = _mix(value, last_word(data, at, stop))
    return signed(value >> _DROPPED_BITS)


def table(names: dict[str, int]) -> tuple[Hashes, Hashes]:
    """(hashes, their numbers), both int64 [slots], for `number_of`. Numbers are above 0."""
    hashes = [hash_of(name) for name in names]
    if len(set(hashes)) < len(hashes):
        raise ValueError("two names share a hash")
    # At least half of the slots are empty, so that a search ends soon.
    slots = 1 << (2 * len(hashes)).bit_length()
    table, numbers = np.full(slots, _NO_HASH, np.int64), np.zeros(slots, np.int64)
    for value, number in zip(hashes, names.values(), strict=True):
        slot = value % slots
        while table[slot] != _NO_HASH:
            slot = (slot + 1) % slots
        table[slot], numbers[slot] = value, number
    return table, numbers


@kernel
def number_of(value: int, hashes: Hashes, numbers: Hashes) -> int:
    """The number of a hash in a table; 0 when it is not there."""
    last = len(hashes) - 1
    slot = value & last
    while hashes[slot] != value:
        if hashes[slot] == _NO_HASH:
            return 0
        slot = (slot + 1) & last
    return signed(numbers[slot])
