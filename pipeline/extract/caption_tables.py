"""What each character of a caption asks for, as tables that `caption_kernels` reads."""

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.extract import caption_kernels as kinds

_BASIC_PLANE = "".join(map(chr, range(0x10000)))


@cache
def character_table() -> npt.NDArray[np.uint8]:
    """The kind of every character of the basic plane, uint8 [0x10000]. 0.2 s, once per process.

    Source: Unicode Standard Annex 15, section 9 (quick check of NFC): a text is in NFC when each
    of its characters is in NFC, none can join one before it, and its marks stand in order.
    """
    table = np.zeros(0x10000, np.uint8)
    for kind, characters in _suspect_kinds().items():
        table[characters] = kind
    marks: dict[int, list[int]] = {}
    joining = set(_joining())
    for c, character in enumerate(_BASIC_PLANE):
        category = unicodedata.category(character)
        # Controls that Python takes for white space are looked at by ftfy as what they are.
        if character.isspace() and c != 0x85 and not 0x1C <= c <= 0x1F:
            table[c] = kinds.SPACES
        elif (
            category in ("Cc", "Cs")
            or is_deleted(character)
            or c in joining
            or not unicodedata.is_normalized("NFC", character)
        ):
            table[c] = kinds.SLOW
        elif order := unicodedata.combining(character):
            marks.setdefault(order, []).append(c)
    for i, order in enumerate(sorted(marks)):
        table[marks[order]] = kinds.FIRST_MARK + i
    return table


# Invisible and of no meaning in a caption. Kept: U+200C and U+200D, which join and part letters in
# Persian and Indic scripts and inside emoji.
# Source: Unicode Standard 16.0, section 23.2 (layout controls) and 23.8 (U+FEFF).
DELETED = "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
# C0 and C1 controls but white space, lone surrogates, U+FFFE/U+FFFF.
CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff"
_DELETED = re.compile(f"[{DELETED}{CONTROL}]")


def is_deleted(character: str) -> bool:
    """True for a character that no normal form holds."""
    return _DELETED.match(character) is not None


def _joining() -> list[int]:
    """Characters that can compose with one before them: the second of a canonical pair, and the
    vowels and finals of Hangul syllables."""
    found = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]
    for character in map(chr, range(0x110000)):
        decomposition = unicodedata.decomposition(character)
        if decomposition and decomposition[0] != "<":
            found += [int(code, 16) for code in decomposition.split()[1:]]
    return [c for c in found if c < 0x10000]


def _suspect_kinds() -> dict[int, list[int]]:
    """The characters that mojibake is made of, by what `suspect_pairs` does with them; a later kind
    counts. The characters are ftfy's own."""
    from ftfy.badness import MOJIBAKE_CATEGORIES as CATEGORIES

    def of(*names: str) -> list[int]:
        found = re.findall(f"[{''.join(CATEGORIES[name] for name in names)}]", _BASIC_PLANE)
        return [ord(character) for character in found]

    faces = of("kaomoji")
    return {
        kinds.LETTER: of("lower_common", "upper_common"),
        # Letters that begin the mojibake of Windows-1251, 1253 and 1257.
        kinds.RISKY: [*map(ord, "ВГРСвΒΓΞΟβ")],
        kinds.LOWER: of("lower_accented") + [c for c in faces if chr(c).islower()],
        kinds.UPPER: of("upper_accented") + [c for c in faces if chr(c).isupper()],
        kinds.LIGATURE: [*map(ord, "Œœ")],
        # What the first bytes of the most frequent two-byte letters look like.
        kinds.LEADING: [*map(ord, "ÂÃÎÐØÙ")],
        kinds.COMMON: of("common"),
        kinds.OPENING: of("start_punctuation"),
        kinds.CLOSING: [
            *of("end_punctuation", "currency", "numeric", "law", "box"),
            ord("°"),
        ],
        # With those that begin the mojibake of MacRoman, and of Windows-1251's dashes and quotes.
        kinds.BAD: [*of("bad"), *map(ord, "√≈×‚Ђ")],
    }


@cache
def suspect_pairs() -> npt.NDArray[np.bool_]:
    """Pairs of neighbouring kinds that may be mojibake, bool [16, 16].

    Wider than ftfy's own expression, which has the last word on what is found here: every match of
    it that begins in no control character and is not one of the single characters that `examine`
    looks at holds such a pair. Source: ftfy 6.3, `badness.BADNESS_RE`.
    """
    letters = [kinds.LETTER, kinds.RISKY]
    lower = [kinds.LOWER, kinds.LIGATURE]
    upper = [kinds.UPPER, kinds.LEADING, kinds.LIGATURE]
    signs = [kinds.COMMON, kinds.OPENING, kinds.CLOSING]
    closing = [kinds.CLOSING]
    pairs = np.zeros((16, 16), bool)
    for first, second in (
        (lower + letters, upper),
        (lower + upper + [kinds.RISKY], signs),
        (closing, lower + upper),
        (closing, [kinds.OPENING, *closing]),
        ([kinds.OPENING], closing),
    ):
        pairs[np.ix_(first, second)] = True
    pairs[[kinds.BAD, kinds.LEADING], kinds.FIRST_SUSPECT :] = True
    pairs[kinds.FIRST_SUSPECT :, kinds.BAD] = True
    return pairs
