"""The writing system of every character, as tables that kernels read."""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

# The low bits of an entry: the script of a letter, NONE for what is no letter. From OTHER + 1 on:
# the scripts that one language stands for, in the order of SINGLE_LANGUAGES.
NONE, LATIN, CYRILLIC, ARABIC, DEVANAGARI, HANGUL, KANA, HAN, OTHER = range(9)
SCRIPT_BITS = 0x1F
# The high bits of an entry of a letter.
UPPER = 0x20
JAPANESE_ONLY = 0x40  # a Han character of Japan's character set, and of none of China's
CHINESE_ONLY = 0x80  # the other way round
# The high bits of an entry of script NONE.
SPACE = 0x20
DIGIT = 0x40

# The languages are the most spoken of those that use the script: Bengali letters also write
# Assamese, Hebrew ones Yiddish, Ethiopic ones Tigrinya.
SINGLE_LANGUAGES = (
    "el", "hy", "he", "bn", "pa", "gu", "or", "ta", "te", "kn", "ml", "si", "th", "lo", "bo", "my",
    "ka", "am", "km",
)  # fmt: skip

# First and last code point, and script, of the letters and marks of a block; what is not named is
# OTHER. Source: Unicode Standard 16.0, Blocks.txt. KANA is without the middle dot and the long
# vowel mark (U+30FB, U+30FC): Chinese and Korean captions use both as dashes.
_BLOCKS: tuple[tuple[int, int, int | str], ...] = (
    (0x0041, 0x024F, LATIN), (0x1E00, 0x1EFF, LATIN), (0xFF21, 0xFF5A, LATIN),
    (0x0300, 0x036F, LATIN),  # marks, almost all of which stand on Latin letters
    (0x0400, 0x052F, CYRILLIC), (0x0600, 0x06FF, ARABIC), (0x0750, 0x077F, ARABIC),
    (0xFB50, 0xFDFF, ARABIC), (0xFE70, 0xFEFC, ARABIC), (0x0900, 0x097F, DEVANAGARI),
    (0x1100, 0x11FF, HANGUL), (0x3131, 0x318E, HANGUL), (0xA960, 0xA97F, HANGUL),
    (0xAC00, 0xD7FF, HANGUL),
    (0x3041, 0x3098, KANA), (0x309D, 0x309F, KANA), (0x30A1, 0x30FA, KANA), (0x30FD, 0x30FF, KANA),
    (0x31F0, 0x31FF, KANA), (0xFF66, 0xFF6F, KANA), (0xFF71, 0xFF9D, KANA),
    (0x3005, 0x3007, HAN), (0x3400, 0x4DBF, HAN), (0x4E00, 0x9FFF, HAN), (0xF900, 0xFAFF, HAN),
    (0x0370, 0x03FF, "el"), (0x1F00, 0x1FFF, "el"), (0x0530, 0x058F, "hy"), (0x0590, 0x05FF, "he"),
    (0xFB1D, 0xFB4F, "he"), (0x0980, 0x09FF, "bn"), (0x0A00, 0x0A7F, "pa"), (0x0A80, 0x0AFF, "gu"),
    (0x0B00, 0x0B7F, "or"), (0x0B80, 0x0BFF, "ta"), (0x0C00, 0x0C7F, "te"), (0x0C80, 0x0CFF, "kn"),
    (0x0D00, 0x0D7F, "ml"), (0x0D80, 0x0DFF, "si"), (0x0E00, 0x0E7F, "th"), (0x0E80, 0x0EFF, "lo"),
    (0x0F00, 0x0FFF, "bo"), (0x1000, 0x109F, "my"), (0x10A0, 0x10FF, "ka"), (0x1200, 0x137F, "am"),
    (0x1780, 0x17FF, "km"),
)  # fmt: skip


@cache
def script_table() -> npt.NDArray[np.uint8]:
    """Script and flags of every character of the basic plane, uint8 [0x10000].

    About 60 ms, once per process. Beyond the basic plane only U+20000 to U+3FFFF hold letters that
    captions use: HAN.
    """
    table = np.zeros(0x10000, np.uint8)
    for c in range(0x10000):
        category = unicodedata.category(chr(c))
        if category[0] in "LM":
            table[c] = OTHER | (UPPER if category in ("Lu", "Lt") else 0)
        elif category == "Nd":
            table[c] = DIGIT
        elif category[0] == "Z" or c in (9, 10, 11, 12, 13, 0x85):
            table[c] = SPACE
    for first, last, script in _BLOCKS:
        number = script if isinstance(script, int) else OTHER + 1 + SINGLE_LANGUAGES.index(script)
        block = table[first : last + 1]
        is_letter = (block & SCRIPT_BITS) != NONE
        block[is_letter] = (block[is_letter] & ~np.uint8(SCRIPT_BITS)) | np.uint8(number)
    table[0x3007] = HAN  # the ideographic zero is a number to Unicode
    _mark_national(table)
    return table


def _mark_national(table: npt.NDArray[np.uint8]) -> None:
    """Flag the Han characters that only Japanese, or only Chinese, writes.

    Source: the character sets themselves, JIS X 0208 against GB 2312 (simplified) and Big5
    (traditional), as Python's codecs know them.
    """
    for c in range(0x4E00, 0xA000):
        japanese = _has("euc_jp", c, 2)  # two bytes: without the rare characters of JIS X 0212
        chinese = _has("gb2312", c, 2) or _has("big5", c, 2)
        if japanese != chinese:
            table[c] |= JAPANESE_ONLY if japanese else CHINESE_ONLY


def _has(charset: str, c: int, size: int) -> bool:
    try:
        return len(chr(c).encode(charset)) == size
    except UnicodeEncodeError:
        return False


@cache
def lower_table() -> npt.NDArray[np.uint16]:
    """The lower-case form of every character of the basic plane, uint16 [0x10000]: the character
    itself where that form is none, more than one, or of another length in UTF-8."""
    table = np.arange(0x10000, dtype=np.uint16)
    for c in range(0x10000):
        lower = chr(c).lower()
        if len(lower) == 1 and lower != chr(c) and _size(ord(lower)) == _size(c):
            table[c] = ord(lower)
    return table


def _size(c: int) -> int:
    return 1 if c < 0x80 else 2 if c < 0x800 else 3
