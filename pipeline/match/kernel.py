"""Comparing hashes inside buckets, compiled: whole sorted tables in one pass."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from pipeline.core.jit import allocating_kernel, kernel
from pipeline.match.blocks import U64

Numbers = npt.NDArray[np.int64]

# Where a pass stands, an int64 array, so that it can stop when its answer is full and go on.
ROW, COLUMN, ROW_END, COLUMN_START, COLUMN_END, COMPARED, STATE_LENGTH = range(7)


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing: Any, word: Any) -> Any:
    """How many bits of a uint64 are set: int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@allocating_kernel
def permute(words: U64, places: U64) -> U64:
    """Each word with its bits in another order. places: uint64 [8, 256], `blocks.Layout`."""
    found = np.empty_like(words)
    low = np.uint64(255)
    for i in range(len(words)):
        word = words[i]
        moved = np.uint64(0)
        for byte in range(8):
            moved |= places[byte, word & low]
            word >>= np.uint64(8)
        found[i] = moved
    return found


@allocating_kernel
def send(hashes: U64, mask: np.uint64, bits: int, counts: Numbers, sent: U64) -> None:
    """Order hashes by part: equal keys in one part, keys spread evenly over 2^bits of them.

    mask: the bits of the key. counts: int64 [2^bits], becomes how many hashes each part has; sent:
    as long as hashes, becomes the hashes of part 0, then of part 1, and so on.
    """
    # Multiplying by an odd number spreads the key over the high bits (Knuth, TAOCP 3, 6.4: golden
    # ratio); a shift by 64 is undefined, hence in two steps.
    odd = np.uint64(0x9E3779B97F4A7C15)
    shift = np.uint64(63 - bits)
    counts[:] = 0
    for i in range(len(hashes)):
        counts[((hashes[i] & mask) * odd >> shift) >> np.uint64(1)] += 1
    place = np.empty(len(counts), np.int64)
    total = 0
    for part in range(len(counts)):
        place[part] = total
        total += counts[part]
    for i in range(len(hashes)):
        part = ((hashes[i] & mask) * odd >> shift) >> np.uint64(1)
        sent[place[part]] = hashes[i]
        place[part] += 1


@kernel
def is_first(differing: np.uint64, earlier: U64) -> bool:
    """Whether two words agree in no table before this one. differing: their XOR; earlier: masks."""
    for mask in earlier:  # noqa: SIM110 - a compiled loop
        if differing & mask == np.uint64(0):
            return False
    return True


@kernel
def next_close(word: np.uint64, columns: U64, start: int, end: int, radius: int) -> int:
    """The first place in columns[start:end] that is within the radius; `end` for none. Eight are
    compared before one is asked about, as hits are rare."""
    j = start
    while j + 8 <= end:
        least = 64
        at = np.uint64(j)  # not negative, so that no index is checked for counting from the end
        for k in range(8):
            distance = ones(word ^ columns[at + np.uint64(k)])
            least = min(least, distance)
        if least <= radius:
            break
        j += 8
    while j < end and ones(word ^ columns[np.uint64(j)]) > radius:
        j += 1
    return j


@kernel
def compare(
    rows: U64,
    columns: U64,
    is_self: bool,
    key_bits: int,
    most: float,
    radius: int,
    earlier: U64,
    state: Numbers,
    left: U64,
    right: U64,
) -> int:
    """Pairs of a row and a column of one bucket, within the radius and met in no earlier table.

    rows, columns: sorted words whose highest `key_bits` bits (at least 1) are the bucket.
    is_self: rows are the columns, and each is compared with those after it.
    most: buckets with more than this many comparisons, rows times columns, are left out.
    earlier: masks of the tables before this one.
    state: zeros at first. left, right: where the pairs go; how many is returned. When that is as
    many as there is room for, call again to go on.
    """
    shift = np.uint64(64 - key_bits)
    i, j, end = state[ROW], state[COLUMN], state[ROW_END]
    low, high = state[COLUMN_START], state[COLUMN_END]
    compared, found, room = state[COMPARED], 0, len(left)
    while i < len(rows):
        if i == end:  # the next bucket
            key = rows[i] >> shift
            end = i + 1
            while end < len(rows) and rows[end] >> shift == key:
                end += 1
            if is_self:
                low, high = i, end
            else:
                low = high
                while low < len(columns) and columns[low] >> shift < key:
                    low += 1
                high = low
                while high < len(columns) and columns[high] >> shift == key:
                    high += 1
            if float(end - i) * float(high - low) > most:
                i = end
                continue
            j = i + 1 if is_self else low
        word, start = rows[i], j
        while j < high and found < room:
            j = next_close(word, columns, j, high, radius)
            if j == high:
                break
            differing = word ^ columns[j]
            j += 1
            if ones(differing) <= radius and is_first(differing, earlier):
                left[found], right[found] = word, word ^ differing
                found += 1
        compared += j - start
        if j < high:
            break
        i += 1
        j = i + 1 if is_self else low
    state[ROW], state[COLUMN], state[ROW_END] = i, j, end
    state[COLUMN_START], state[COLUMN_END], state[COMPARED] = low, high, compared
    return found


@allocating_kernel
def big_buckets(
    rows: U64, columns: U64, is_self: bool, key_bits: int, most: float
) -> list[tuple[int, int, int, int]]:
    """The buckets `compare` leaves out: start and end among the rows, and among the columns."""
    shift = np.uint64(64 - key_bits)
    found = [(0, 0, 0, 0) for _ in range(0)]
    i, high = 0, 0
    while i < len(rows):
        key = rows[i] >> shift
        end = i + 1
        while end < len(rows) and rows[end] >> shift == key:
            end += 1
        if is_self:
            low, high = i, end
        else:
            low = high
            while low < len(columns) and columns[low] >> shift < key:
                low += 1
            high = low
            while high < len(columns) and columns[high] >> shift == key:
                high += 1
        if float(end - i) * float(high - low) > most:
            found.append((i, end, low, high))
        i = end
    return found
