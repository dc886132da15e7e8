"""The pattern of a caption: what is left of it when numbers and names are masked.

A site fills one sentence with every product, place or person it has: "Photo of Jane Doe at the
Oscars 2020 (12)". Each such caption is rare, their pattern is not.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.codepoints import UNSPACED, CharClass, Codepoints, class_table
from pipeline.core.jit import kernel
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
from pipeline.core.tokens import lower_table

_LETTER, _SPACE, _UPPER = int(CharClass.LETTER), int(CharClass.SPACE), int(CharClass.UPPER)
_DIGIT, _UNSPACED = int(CharClass.DIGIT), int(UNSPACED)
_NUMBER_MASK, _NAME_MASK = np.uint64(0x110000), np.uint64(0x110001)  # beyond all code points
# Fewer words, and a pattern says nothing: "Jane Doe 2" and "New York 3" would be the same.
_LEAST_WORDS = 2


def patterns(captions: pa.Array, hashes: Longs) -> Longs:
    """A 64-bit hash of the pattern of each caption, int64 [rows]; its own hash where it has none.

    captions: pa.string(), null for none. hashes: of the captions themselves.

    Runs of digits become one number, runs of capitalised words one name, letters lower case, spaces
    one. The first word is a name only when the next one is capitalised too, as sentences begin in
    upper case. Where a script has no capitals, numbers alone are masked. A caption has a pattern
    when something is masked and two words at least are not; a word of Chinese, Japanese or Thai
    takes two characters.
    """
    text = Codepoints.of(captions)
    found = hashes.view(np.uint64).copy()
    _mask(text.values, text.ends, class_table(), lower_table(), found)
    return found.view(np.int64)


@kernel
def _mask(
    values: Chars,
    ends: Longs,
    classes: Classes,
    lower: Chars,
    found: npt.NDArray[np.uint64],
) -> None:
    for row in range(len(found)):
        at, stop = ends[row], ends[row + 1]
        state, masked, words, unspaced = HASH_START, 0, 0, 0
        is_first, after_name = True, False
        while at < stop:
            kind = class_of(classes, values[at])
            if (kind & _SPACE) != 0:
                at += 1
                continue
            if (kind & _DIGIT) != 0:
                while at < stop and (class_of(classes, values[at]) & _DIGIT) != 0:
                    at += 1
                state = hash_step(state, _NUMBER_MASK)
                masked += 1
                after_name = False
            elif (kind & _LETTER) != 0 and (kind & _UNSPACED) == 0:
                first = at
                while at < stop:
                    part = class_of(classes, values[at])
                    if (part & _LETTER) == 0 or (part & _UNSPACED) != 0:
                        break
                    at += 1
                if (kind & _UPPER) != 0 and (
                    not is_first or _is_upper_next(values, classes, at, stop)
                ):
                    if not after_name:
                        state = hash_step(state, _NAME_MASK)
                    masked += 1
                    after_name = True
                else:
                    for i in range(first, at):
                        state = hash_step(state, lower_of(lower, values[i]))
                    # So that words cannot be cut elsewhere.
                    state = hash_step(state, np.uint64(0x20))
                    words += 1
                    after_name = False
                is_first = False
            else:
                state = hash_step(state, np.uint64(values[at]))
                unspaced += (kind & _UNSPACED) != 0
                after_name = False
                at += 1
        if masked > 0 and words + unspaced // 2 >= _LEAST_WORDS:
            found[row] = hash_end(state)


@kernel
def _is_upper_next(values: Chars, classes: Classes, at: int, stop: int) -> bool:
    """Whether the next letter is an upper-case one."""
    while at < stop and (class_of(classes, values[at]) & _LETTER) == 0:
        at += 1
    return at < stop and (class_of(classes, values[at]) & _UPPER) != 0
