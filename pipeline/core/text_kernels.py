"""Passes over the characters and words of a batch of captions.

`values` and `ends` are those of `codepoints.Codepoints`, `classes` its table of CharClass flags.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.codepoints import TABLE_SIZE, UNSPACED, CharClass
from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.strings import Bytes, Ends
from pipeline.core.tokens import LOWER_SIZE
from pipeline.core.utf8 import decode

Chars = npt.NDArray[np.uint32]
Longs = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Classes = npt.NDArray[np.uint16]

_SIZE, _LOWER_SIZE = TABLE_SIZE, LOWER_SIZE
_WORD = int(CharClass.LETTER | CharClass.NUMBER)
_SPACE, _UNSPACED, _DIGIT = int(CharClass.SPACE), int(UNSPACED), int(CharClass.DIGIT)
_APOSTROPHE, _QUOTE = 0x27, 0x2019
_NO_JOIN, _JOIN = 0x200C, 0x200D  # between letters of a Persian or an Indic word

# FNV-1a (Fowler, Noll, Vo; RFC 9923) over code points, with MurmurHash3's 64-bit finaliser
# (A. Appleby, public domain), as FNV alone leaves the low bits of short texts poorly mixed.
HASH_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


@kernel
def hash_step(state: np.uint64, value: np.uint64) -> np.uint64:
    """The state of a hash after one more code point, or one more hash."""
    return (state ^ value) * _PRIME


@kernel
def hash_end(state: np.uint64) -> np.uint64:
    """The hash of what a state has seen."""
    state ^= state >> _SHIFT
    state *= _MIX_1
    state ^= state >> _SHIFT
    state *= _MIX_2
    return state ^ (state >> _SHIFT)


@kernel
def class_of(classes: Classes, value: np.uint32) -> int:
    """The CharClass flags of a character, as a signed integer."""
    return signed(classes[value]) if value < _SIZE else 0


@kernel
def lower_of(lower: Chars, value: np.uint32) -> np.uint64:
    """What a character counts as in a word: see `tokens.lower_table`."""
    return np.uint64(lower[value]) if value < _LOWER_SIZE else np.uint64(value)


@kernel
def decode_rows(starts: Ends, data: Bytes, values: Chars, ends: Longs) -> None:
    """Write the characters of each data[starts[i]:starts[i + 1]] and where each row ends.

    values: as many as there are bytes, at least. A byte that is not UTF-8 is a character itself.
    """
    to = 0
    ends[0] = 0
    for row in range(len(starts) - 1):
        at, stop = signed(starts[row]), signed(starts[row + 1])
        while at < stop:
            while at < stop and data[at] < 0x80:
                values[to] = data[at]
                at += 1
                to += 1
            if at < stop:
                code, size = decode(data, at, stop)
                values[to] = code
                at += size
                to += 1
        ends[row + 1] = to


@kernel
def count_class(
    values: Chars, ends: Longs, classes: Classes, kinds: np.uint16, counts: Longs
) -> None:
    """How many characters of each row have one of the flags `kinds`."""
    wanted = signed(kinds)
    for row in range(len(counts)):
        found = 0
        for i in range(ends[row], ends[row + 1]):
            found += (class_of(classes, values[i]) & wanted) != 0
        counts[row] = found


@kernel
def is_in_word(kind: int) -> bool:
    """Whether a character of these flags is part of a word as `Tokens` has it."""
    return (kind & _WORD) != 0 and (kind & _UNSPACED) == 0


@kernel
def find_words(
    values: Chars,
    ends: Longs,
    classes: Classes,
    lower: Chars,
    starts: Longs,
    stops: Longs,
    hashes: Hashes,
    of_rows: Longs,
) -> int:
    """Fill the arrays of a `Tokens`; how many words there are.

    starts, stops, hashes: half as many as there are characters and one a row, at least, as words
    of a row have a character between them.
    """
    found = 0
    of_rows[0] = 0
    for row in range(len(ends) - 1):
        i, stop = ends[row], ends[row + 1]
        while i < stop:
            if not is_in_word(class_of(classes, values[i])):
                i += 1
                continue
            starts[found] = i
            state = HASH_START
            while i < stop:
                value = values[i]
                if not is_in_word(class_of(classes, value)) and not (
                    (value == _APOSTROPHE or value == _QUOTE or _NO_JOIN <= value <= _JOIN)
                    and i + 1 < stop
                    and is_in_word(class_of(classes, values[i + 1]))
                ):
                    break
                state = hash_step(state, lower_of(lower, value))
                i += 1
            stops[found] = i
            hashes[found] = hash_end(state)
            found += 1
        of_rows[row + 1] = found
    return found


@kernel
def count_words(
    values: Chars,
    ends: Longs,
    classes: Classes,
    chars_per_word: float,
    counts: npt.NDArray[np.int32],
) -> None:
    """Runs of characters between spaces that hold a letter or a digit, and one more for every
    `chars_per_word` letters and digits of scripts without spaces, rounded up, which end a run."""
    for row in range(len(counts)):
        words, unspaced = 0, 0
        is_counted = False
        for i in range(ends[row], ends[row + 1]):
            kind = class_of(classes, values[i])
            if (kind & _UNSPACED) != 0:
                unspaced += (kind & _WORD) != 0
                is_counted = False
            elif (kind & _SPACE) != 0:
                is_counted = False
            elif (kind & _WORD) != 0 and not is_counted:
                words += 1
                is_counted = True
        counts[row] = words + np.int64(np.ceil(unspaced / chars_per_word))


@allocating_kernel
def count_numbers(
    values: Chars, classes: Classes, starts: Longs, stops: Longs, ends: Longs
) -> Longs:
    """Words of each row that are of digits alone, int64 [rows]. The arrays are of a `Tokens`."""
    counts = np.zeros(len(ends) - 1, np.int64)
    for row in range(len(counts)):
        for i in range(ends[row], ends[row + 1]):
            counts[row] += is_number(values, classes, starts[i], stops[i])
    return counts


@kernel
def is_number(values: Chars, classes: Classes, start: int, stop: int) -> bool:
    """Whether a word is of digits alone."""
    digits = 0
    for i in range(start, stop):
        digits += (class_of(classes, values[i]) & _DIGIT) != 0
    return digits == stop - start
