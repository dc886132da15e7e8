"""The characters of a column of text as one NumPy array, their Unicode classes, and their words.

Every filter of a batch looks at the same captions: they are decoded once and cut into words once,
and each filter is a pass over what is shared. The compiled passes are in `text_kernels`, which is
imported where they run.
"""

import unicodedata
from dataclasses import dataclass
from enum import IntFlag
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.tokens import Tokens


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
    UPPER = 256  # Lu, Lt
    LOWER = 512  # Ll
    PUNCTUATION = 1024  # P*
    EMOJI = 2048
    BRACKET = 4096  # Ps, Pe, and < >
    MARKUP = 8192  # what HTML, templates and escapes cannot do without
    DIGIT = 16384  # Nd


# Characters that stand for words, some for more, in scripts that put no space between words.
UNSPACED = CharClass.HAN | CharClass.KANA | CharClass.UNSPACED
# Code points beyond are unassigned or private, or mark nothing that is counted here.
TABLE_SIZE = 0x40000

# First and last code point of each block.
_BLOCKS = {
    CharClass.HANGUL: ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    # Without U+30FB, the middle dot, which Chinese and Korean use too.
    CharClass.KANA: ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF),
                     (0xFF66, 0xFF9D)),
    CharClass.HAN: ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
                    (0x20000, 0x3FFFD)),
    CharClass.UNSPACED: ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    # Source: Unicode's emoji-data.txt (UTS 51), Emoji_Presentation, and the blocks around it that
    # are drawn as emoji where a variation selector asks for it.
    CharClass.EMOJI: ((0x2600, 0x27BF), (0x2B1B, 0x2B1C), (0x2B50, 0x2B55), (0x1F000, 0x1FAFF)),
}  # fmt: skip
_CATEGORIES = {
    "L": CharClass.LETTER,
    "M": CharClass.LETTER,
    "N": CharClass.NUMBER,
    "Z": CharClass.SPACE,
    "P": CharClass.SYMBOL | CharClass.PUNCTUATION,
    "S": CharClass.SYMBOL,
    "Lu": CharClass.LETTER | CharClass.UPPER,
    "Lt": CharClass.LETTER | CharClass.UPPER,
    "Ll": CharClass.LETTER | CharClass.LOWER,
    "Nd": CharClass.NUMBER | CharClass.DIGIT,
    "Ps": CharClass.SYMBOL | CharClass.PUNCTUATION | CharClass.BRACKET,
    "Pe": CharClass.SYMBOL | CharClass.PUNCTUATION | CharClass.BRACKET,
}


@cache
def class_table() -> npt.NDArray[np.uint16]:
    """The CharClass flags of every code point under TABLE_SIZE, uint16 [TABLE_SIZE].

    About 60 ms, once per process.
    """
    flags = {name: int(kind) for name, kind in _CATEGORIES.items()}
    category = unicodedata.category
    table = np.fromiter(
        (flags.get(c, flags.get(c[0], 0)) for c in map(category, map(chr, range(TABLE_SIZE)))),
        dtype=np.uint16,
        count=TABLE_SIZE,
    )
    table[[9, 10, 11, 12, 13, 0x85]] = CharClass.SPACE
    for kind, blocks in _BLOCKS.items():
        for first, last in blocks:
            table[first : last + 1] |= np.uint16(kind)
    for mark in "<>":
        table[ord(mark)] |= np.uint16(CharClass.BRACKET)
    for mark in "<>[]{}&%\\=":
        table[ord(mark)] |= np.uint16(CharClass.MARKUP)
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
        """From an Arrow string array. The last one is kept: the filters of a batch share it."""
        global _last
        held = _last
        if held is not None and _is_same(held[0], texts):
            return held[1]
        found = cls._decode(texts)
        # The array is held with it, so that no other can come to lie at its addresses.
        _last = texts, found
        return found

    @classmethod
    def _decode(cls, texts: pa.Array) -> "Codepoints":
        from pipeline.core import text_kernels
        from pipeline.core.strings import views

        starts, data = views(pc.fill_null(texts, "") if texts.null_count else texts)
        values = np.empty(int(starts[-1] - starts[0]), np.uint32)
        ends = np.empty(len(starts), np.int64)
        text_kernels.decode_rows(starts, data, values, ends)
        return cls(values[: ends[-1]], ends)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.ends) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Characters of each row, int64 [rows]."""
        return np.diff(self.ends)

    @cached_property
    def tokens(self) -> Tokens:
        """The words of scripts that put spaces between words."""
        return Tokens.of(self.values, self.ends, class_table())

    def count(self, kinds: CharClass) -> npt.NDArray[np.int64]:
        """How many characters of each row are of one of the kinds at least, int64 [rows]."""
        from pipeline.core import text_kernels

        found = np.empty(self.rows, np.int64)
        text_kernels.count_class(self.values, self.ends, class_table(), np.uint16(kinds), found)
        return found

    def share(self, kinds: CharClass) -> npt.NDArray[np.float64]:
        """The share of each row's characters that `count` counts, 0 to 1, float64 [rows]; 0 for
        empty text."""
        return self.count(kinds) / np.maximum(self.lengths, 1)


_last: tuple[pa.Array, Codepoints] | None = None


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays are views of the same memory. Arrow's memory does not change."""
    return one is other or (
        len(one) == len(other)
        and one.offset == other.offset
        and one.type == other.type
        and _addresses(one) == _addresses(other)
    )


def _addresses(texts: pa.Array) -> list[int]:
    return [buffer.address if buffer is not None else 0 for buffer in texts.buffers()]
