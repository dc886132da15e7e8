"""The kernel of the search in a sorted table: look every key up, compare what has it."""

from typing import Any

import numpy as np

from pipeline.core.jit import kernel

_PAIRS = np.uint64(0x5555555555555555)
_NIBBLES = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
_SUM = np.uint64(0x0101010101010101)
_1, _2, _4, _56 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)


@kernel
def ones(word: Any) -> Any:
    """How many bits of a uint64 are set. Source: Warren, Hacker's Delight, section 5-1."""
    word = word - ((word >> _1) & _PAIRS)
    word = (word & _NIBBLES) + ((word >> _2) & _NIBBLES)
    word = (word + (word >> _4)) & _BYTES
    return (word * _SUM) >> _56


@kernel
def near_in_order(
    held: Any,
    keys: Any,
    words: Any,
    shift: Any,
    radius: Any,
    first: int,
    held_at: Any,
    asked_at: Any,
) -> tuple[int, int]:
    """Pairs of a held and an asked word that agree in the key and are within the radius.

    held: uint64, sorted; its key is `held >> shift`. keys: uint64, sorted, what to look up; words:
    uint64 beside them, what to compare with. shift, radius: uint64, in bits.
    Begins with look-up number `first`; writes positions in `held` and in `keys` to held_at and
    asked_at (int64, at least as long as `held`). Returns how many it wrote and the look-up to go on
    with: len(keys) when done.
    """
    rows = len(held)
    written, start = 0, 0
    for asked in range(first, len(keys)):
        key, word = keys[asked], words[asked]
        low, high = start, rows
        while low < high:
            middle = (low + high) >> 1
            if (held[middle] >> shift) < key:
                low = middle + 1
            else:
                high = middle
        start = low
        before, at = written, low
        while at < rows and (held[at] >> shift) == key:
            if ones(held[at] ^ word) <= radius:
                if written == len(held_at):
                    return before, asked
                held_at[written] = at
                asked_at[written] = asked
                written += 1
            at += 1
    return written, len(keys)
