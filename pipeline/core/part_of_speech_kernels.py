"""Tagging the words of captions. See `part_of_speech`."""

import numpy as np
import numpy.typing as npt

from pipeline.core.codepoints import CharClass
from pipeline.core.hash_kernels import get
from pipeline.core.jit import kernel
from pipeline.core.text_kernels import (
    HASH_START,
    Chars,
    Classes,
    Hashes,
    Longs,
    class_of,
    hash_end,
    hash_step,
    lower_of,
)
from pipeline.core.word_list_kernels import Table

_NOUN, _OTHER = 1, 8
_LETTER = int(CharClass.LETTER)
# Of the endings in `part_of_speech.ENDINGS`; a word has some letters besides.
_LEAST_ENDING, _MOST_ENDING, _LEAST_STEM = 2, 4, 2


@kernel
def tag_rows(
    text: tuple[Chars, Classes, Chars],
    tokens: tuple[Longs, Longs, Hashes, Longs],
    words: Table,
    endings: Table,
    found: npt.NDArray[np.uint8],
) -> None:
    """The parts of speech of the words of each row, together."""
    values, classes, lower = text
    starts, stops, hashes, ends = tokens
    for row in range(len(found)):
        seen = 0
        for i in range(ends[row], ends[row + 1]):
            kind = get(words[0], words[1], hashes[i])
            if kind == 0:
                kind = guess(values, classes, lower, starts[i], stops[i], endings)
            seen |= kind
        found[row] = seen


@kernel
def guess(
    values: Chars, classes: Classes, lower: Chars, start: int, stop: int, endings: Table
) -> int:
    """The part of speech of a word that is in no lexicon: a noun, but for its ending."""
    letters = 0
    for i in range(start, stop):
        letters += (class_of(classes, values[i]) & _LETTER) != 0
    if letters < 2:
        return _OTHER
    for size in range(_LEAST_ENDING, _MOST_ENDING + 1):
        if stop - start < size + _LEAST_STEM:
            break
        state = HASH_START
        for i in range(stop - size, stop):
            state = hash_step(state, lower_of(lower, values[i]))
        if get(endings[0], endings[1], hash_end(state)) != 0:
            return _OTHER
    return _NOUN
