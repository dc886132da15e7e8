"""What captions look like: case, tags, addresses, brackets, damage. See `text_kernels` for the
arguments."""

import numpy as np
import numpy.typing as npt

from pipeline.core.codepoints import CharClass
from pipeline.core.hash_kernels import get
from pipeline.core.jit import allocating_kernel, kernel
from pipeline.core.text_kernels import (
    HASH_START,
    Chars,
    Classes,
    Longs,
    class_of,
    hash_end,
    hash_step,
    lower_of,
)
from pipeline.core.word_list_kernels import Table

Shares = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

_SPACE = int(CharClass.SPACE)
_LETTER, _WORD = int(CharClass.LETTER), int(CharClass.LETTER | CharClass.NUMBER)
_UPPER, _LOWER = int(CharClass.UPPER), int(CharClass.LOWER)
_CASED = _UPPER | _LOWER


@kernel
def measure_case(
    values: Chars,
    ends: Longs,
    classes: Classes,
    least: int,
    upper: Shares,
    capitalised: Shares,
    starts_low: npt.NDArray[np.int8],
) -> None:
    """(upper) upper-case share of the letters that have a case, 0 where there are fewer than
    `least`; (capitalised) share of runs of such letters that begin in upper case, likewise;
    (starts_low) 1 where the first letter of all is a lower-case one."""
    for row in range(len(upper)):
        cased, high, words, high_words = 0, 0, 0, 0
        starts_low[row] = 0
        is_first, before = True, False
        for i in range(ends[row], ends[row + 1]):
            kind = class_of(classes, values[i])
            if (kind & _LETTER) == 0:
                before = False
                continue
            if is_first:
                starts_low[row] = (kind & _LOWER) != 0
                is_first = False
            if (kind & _CASED) != 0:
                cased += 1
                high += (kind & _UPPER) != 0
                if not before:
                    words += 1
                    high_words += (kind & _UPPER) != 0
                before = True
        is_judged = cased >= max(least, 1)
        upper[row] = high / cased if is_judged else 0.0
        capitalised[row] = high_words / words if is_judged else 0.0


_HASH, _AT, _WIDE_HASH, _WIDE_AT = 0x23, 0x40, 0xFF03, 0xFF20


@kernel
def count_tags(values: Chars, ends: Longs, classes: Classes, tags: Ints, shares: Shares) -> None:
    """(tags) # and @ that a letter follows, at the start of a run between spaces or behind
    something that is no letter or digit, and every further # of a run that has one; (shares) of
    the runs, those that are tags, where a run of several tags is as many runs."""
    for row in range(len(tags)):
        at, stop = ends[row], ends[row + 1]
        tagged, runs = 0, 0
        while at < stop:
            if (class_of(classes, values[at]) & _SPACE) != 0:
                at += 1
                continue
            found, before = 0, 0
            while at < stop:
                kind = class_of(classes, values[at])
                if (kind & _SPACE) != 0:
                    break
                is_hash = values[at] == _HASH or values[at] == _WIDE_HASH
                if (is_hash or values[at] == _AT or values[at] == _WIDE_AT) and (
                    (before & _WORD) == 0 or (is_hash and found > 0)
                ):
                    found += at + 1 < stop and (class_of(classes, values[at + 1]) & _LETTER) != 0
                before = kind
                at += 1
            runs += max(found, 1)
            tagged += found
        tags[row] = tagged
        shares[row] = tagged / runs if runs > 0 else 0.0


_DOT, _SLASH, _COLON, _QUESTION = 0x2E, 0x2F, 0x3A, 0x3F


@kernel
def address_share(
    values: Chars, ends: Longs, lower: Chars, classes: Classes, endings: Table, shares: Shares
) -> None:
    """Share of the characters that are no spaces that stand in runs with "://" in them, that start
    with "www.", or whose part before the first "/" or ":" ends in a dot and one of `endings`."""
    for row in range(len(shares)):
        at, stop = ends[row], ends[row + 1]
        seen, inside = 0, 0
        while at < stop:
            if (class_of(classes, values[at]) & _SPACE) != 0:
                at += 1
                continue
            first = at
            while at < stop and (class_of(classes, values[at]) & _SPACE) == 0:
                at += 1
            seen += at - first
            if is_address(values, lower, classes, endings, first, at):
                inside += at - first
        shares[row] = inside / seen if seen > 0 else 0.0


@kernel
def is_address(
    values: Chars, lower: Chars, classes: Classes, endings: Table, first: int, stop: int
) -> bool:
    """Whether a run is an address, whatever brackets and marks are around it."""
    while first < stop and (class_of(classes, values[first]) & _WORD) == 0:
        first += 1
    if first + 4 < stop and is_www(values, lower, first):
        return True
    dot, end = -1, stop
    for i in range(first, stop):
        value = values[i]
        if value == _COLON and i + 2 < stop and values[i + 1] == values[i + 2] == _SLASH:
            return True
        if end == stop and (value == _SLASH or value == _COLON or value == _QUESTION):
            end = i
        if end == stop and value == _DOT and i > first and i + 1 < stop:
            dot = i if (class_of(classes, values[i + 1]) & _WORD) != 0 else dot
    if dot < 0:
        return False
    while end > dot and (class_of(classes, values[end - 1]) & _WORD) == 0:
        end -= 1
    state = HASH_START
    for i in range(dot + 1, end):
        state = hash_step(state, lower_of(lower, values[i]))
    return get(endings[0], endings[1], hash_end(state)) != 0


@kernel
def is_www(values: Chars, lower: Chars, first: int) -> bool:
    """Whether four characters are "www."."""
    for i in range(first, first + 3):
        if lower_of(lower, values[i]) != np.uint64(0x77):
            return False
    return bool(values[first + 3] == _DOT)


@allocating_kernel
def unmatched_brackets(values: Chars, ends: Longs, partners: Chars, unmatched: Ints) -> None:
    """Brackets without a partner, read from left to right; a closing one closes the last opened.

    partners: uint32 [below 0x10000], of a closing bracket its opening one, of an opening one
    itself; 0 for all else.
    """
    stack = np.empty(64, np.uint32)
    for row in range(len(unmatched)):
        deep, lost = 0, 0
        for i in range(ends[row], ends[row + 1]):
            value = values[i]
            partner = partners[value] if value < 0x10000 else np.uint32(0)
            if partner == 0:
                continue
            if partner == value:
                if deep < len(stack):
                    stack[deep] = value
                    deep += 1
                else:
                    lost += 1
            elif deep > 0 and stack[deep - 1] == partner:
                deep -= 1
            else:
                lost += 1
        unmatched[row] = lost + deep
