"""The words of captions: where they are, and a hash of each, so that lists of words are looked up
in without making a string of any."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

# Code points beyond have no other case.
LOWER_SIZE = 0x1F000


@dataclass(frozen=True)
class Tokens:
    """The words of a batch, those of one row after those of another.

    A word is a run of letters, marks and digits, and of apostrophes and joiners between them, in
    scripts that put spaces between words. Any other character ends it, so that "well-known" is two.
    Characters of scripts that do not (`codepoints.UNSPACED`) are in none.

    starts, stops: int64 [words], of `Codepoints.values`.
    hashes: uint64 [words], of the characters in lower case, equal for equal words.
    ends: int64 [rows + 1], the words of row i are those from ends[i] to ends[i + 1].
    """

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        values: npt.NDArray[np.uint32],
        ends: npt.NDArray[np.int64],
        classes: npt.NDArray[np.uint16],
    ) -> "Tokens":
        """Of the characters and row ends of a `Codepoints`, and its table of classes."""
        from pipeline.core import text_kernels

        most = len(values) // 2 + len(ends)
        starts, stops = np.empty(most, np.int64), np.empty(most, np.int64)
        hashes = np.empty(most, np.uint64)
        of_rows = np.empty(len(ends), np.int64)
        found = text_kernels.find_words(
            values, ends, classes, lower_table(), starts, stops, hashes, of_rows
        )
        return cls(starts[:found], stops[:found], hashes[:found], of_rows)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Words of each row, int64 [rows]."""
        return np.diff(self.ends)


@cache
def lower_table() -> npt.NDArray[np.uint32]:
    """What every code point under LOWER_SIZE counts as in a word, uint32 [LOWER_SIZE]: its lower
    case where that is one character, and one of the two apostrophes for the other.

    About 20 ms, once per process.
    """
    table = np.arange(LOWER_SIZE, dtype=np.uint32)
    for c in range(LOWER_SIZE):
        lower = chr(c).lower()
        if len(lower) == 1:
            table[c] = ord(lower)
    table[0x2019] = ord("'")
    table[0x03C2] = 0x03C3  # the sigma that ends a word
    return table
