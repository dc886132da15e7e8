"""The characters of a column of text as one NumPy array, and their Unicode classes.

Counting characters of a class in every row of a batch is then one table look-up and one running
sum, whatever the number of rows.
"""

import unicodedata
from dataclasses import dataclass
from enum import IntFlag
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


class CharClass(IntFlag):
    """Classes of characters. Source: Unicode general categories and blocks (UAX 44)."""

    LETTER = 1  # L*, and the marks M* that many scripts write vowels with
    NUMBER = 2  # N*
    SPACE = 4  # Z* and the white space among the controls
    SYMBOL = 8  # P* and S*: punctuation and symbols, most emoji among them
    HANGUL = 16
    KANA = 32
    HAN = 64
    UNSPACED = 128  # Thai, Lao, Burmese, Khmer: written without spaces between words


# First and last code point of each block.
_BLOCKS = {
    CharClass.HANGUL: ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    # Without U+30FB, the middle dot, which Chinese and Korean use too.
    CharClass.KANA: ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF),
                     (0xFF66, 0xFF9D)),
    CharClass.HAN: ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
                    (0x20000, 0x3FFFD)),
    CharClass.UNSPACED: ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
}  # fmt: skip
_CATEGORIES = {
    "L": CharClass.LETTER,
    "M": CharClass.LETTER,
    "N": CharClass.NUMBER,
    "Z": CharClass.SPACE,
    "P": CharClass.SYMBOL,
    "S": CharClass.SYMBOL,
}


@cache
def class_table() -> npt.NDArray[np.uint8]:
    """The CharClass flags of every code point, uint8 [0x110000]. Built once per process."""
    table = np.fromiter(
        (_CATEGORIES.get(unicodedata.category(chr(c))[0], 0) for c in range(0x110000)),
        dtype=np.uint8,
        count=0x110000,
    )
    table[[9, 10, 11, 12, 13, 0x85]] = CharClass.SPACE
    for kind, blocks in _BLOCKS.items():
        for first, last in blocks:
            table[first : last + 1] |= np.uint8(kind)
    return table


@dataclass(frozen=True)
class Codepoints:
    """Text of a batch, character by character; a null counts as empty text.

    values: uint32 [characters], the rows one after another.
    ends: int64 [rows + 1], row i is values[ends[i]:ends[i + 1]].
    """

    values: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: pa.Array) -> "Codepoints":
        """From an Arrow string array."""
        texts = pc.fill_null(texts, "")
        lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        joined = "".join(texts.to_pylist())
        values = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        return cls(values, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Characters of each row, int64 [rows]."""
        return np.diff(self.ends)

    def classes(self) -> npt.NDArray[np.uint8]:
        """The CharClass flags of every character, uint8 [characters]."""
        return class_table()[self.values]

    def sums(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many characters of each row are marked, int64 [rows]. marked: bool [characters]."""
        running = np.concatenate(([0], np.cumsum(marked, dtype=np.int64)))
        return np.diff(running[self.ends])

    def share(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The marked share of each row's characters, 0 to 1, float64 [rows]; 0 for empty text."""
        return self.sums(marked) / np.maximum(self.lengths, 1)
