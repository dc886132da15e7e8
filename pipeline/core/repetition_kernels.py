"""How much captions repeat themselves."""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import allocating_kernel, kernel
from pipeline.core.text_kernels import Chars, Hashes, Longs, hash_end

Shares = npt.NDArray[np.float64]
# Odd. Source: Knuth's MMIX generator.
_BASE = np.uint64(6364136223846793005)


@allocating_kernel
def tally(runs: Hashes, counts: npt.NDArray[np.int32]) -> int:
    """How often each distinct value of `runs` occurs: counts[:n], in no order; n itself.

    `runs` is sorted in place. counts: as long as runs, at least.
    """
    runs.sort()
    distinct = 0
    at = 0
    while at < len(runs):
        first = at
        while at < len(runs) and runs[at] == runs[first]:
            at += 1
        counts[distinct] = at - first
        distinct += 1
    return distinct


@kernel
def has_repeated(runs: Hashes, table: Hashes) -> bool:
    """Whether a value occurs twice. table: scratch, a power of two, twice as long at least."""
    mask = np.uint64(len(table) - 1)
    table[:] = np.uint64(0)
    for i in range(len(runs)):
        value = runs[i] | np.uint64(1)  # 0 is an empty slot; a false alarm costs time alone
        at = (value >> np.uint64(1)) & mask
        while table[at] != np.uint64(0):
            if table[at] == value:
                return True
            at = (at + np.uint64(1)) & mask
        table[at] = value
    return False


@kernel
def hash_runs(
    items: npt.NDArray[np.unsignedinteger], first: int, stop: int, n: int, runs: Hashes
) -> int:
    """The hash of every run of n of items[first:stop]; how many there are.

    A polynomial modulo 2^64 rolls from run to run (Rabin and Karp 1987).
    """
    found = max(0, stop - first - n + 1)
    if found == 0:
        return 0
    power, state = np.uint64(1), np.uint64(0)
    for i in range(first, first + n):
        state = state * _BASE + np.uint64(items[i])
        power *= _BASE
    runs[0] = hash_end(state)
    for i in range(1, found):
        left, come = np.uint64(items[first + i - 1]), np.uint64(items[first + i + n - 1])
        state = state * _BASE + come - left * power
        runs[i] = hash_end(state)
    return found


@allocating_kernel
def repeated_chars(values: Chars, ends: Longs, n: int, shares: Shares, top: Shares) -> None:
    """(shares) of all runs of n characters those that occur twice or more; (top) the same for the
    most frequent ones alone: no more distinct ones than the square root of all distinct runs."""
    most = longest_row(ends)
    runs, table = np.empty(most, np.uint64), np.empty(table_size(most), np.uint64)
    counts = np.empty(most, np.int32)
    for row in range(len(shares)):
        shares[row], top[row] = 0.0, 0.0
        found = hash_runs(values, ends[row], ends[row + 1], n, runs)
        if found < 2 or not has_repeated(runs[:found], table[: table_size(found)]):
            continue
        distinct = tally(runs[:found], counts)
        kept = counts[:distinct]
        kept.sort()
        left = np.int64(np.sqrt(distinct))
        repeated, frequent = 0, 0
        for i in range(distinct):
            count = kept[distinct - 1 - i]
            if count < 2:
                break
            repeated += count
            if i < left:
                frequent += count
        shares[row], top[row] = repeated / found, frequent / found


@allocating_kernel
def repeated_words(hashes: Hashes, ends: Longs, n: int, shares: Shares, again: Shares) -> None:
    """(shares) of all runs of n words those that occur twice or more; (again) of all words those
    that stand in the row before."""
    most = longest_row(ends)
    runs, table = np.empty(most, np.uint64), np.empty(table_size(most), np.uint64)
    counts = np.empty(most, np.int32)
    for row in range(len(shares)):
        shares[row], again[row] = 0.0, 0.0
        words = hash_runs(hashes, ends[row], ends[row + 1], 1, runs)
        # Where no word is repeated, no run of them is.
        if words < 2 or not has_repeated(runs[:words], table[: table_size(words)]):
            continue
        again[row] = (words - tally(runs[:words], counts)) / words
        found = hash_runs(hashes, ends[row], ends[row + 1], n, runs)
        if found < 2:
            continue
        repeated = 0
        for i in range(tally(runs[:found], counts)):
            if counts[i] > 1:
                repeated += counts[i]
        shares[row] = repeated / found


@kernel
def longest_row(ends: Longs) -> int:
    """Items of the longest row."""
    most = 0
    for row in range(len(ends) - 1):
        most = max(most, ends[row + 1] - ends[row])
    return most


@kernel
def table_size(items: int) -> int:
    """A power of two, twice as many as items at least."""
    size = 4
    while size < 2 * items:
        size *= 2
    return size
