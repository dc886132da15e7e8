"""Text whose bytes were read in a wrong encoding, as far as it shows."""

import numpy as np
import numpy.typing as npt

from pipeline.core.codepoints import CharClass
from pipeline.core.jit import kernel
from pipeline.core.text_kernels import Chars, Classes, Longs, class_of

Ints = npt.NDArray[np.int32]

_HANGUL, _SPACE, _UPPER = int(CharClass.HANGUL), int(CharClass.SPACE), int(CharClass.UPPER)
_QUESTION, _A_CIRCUMFLEX = 0x3F, 0xE2
# What "replacement character" becomes by way of EUC-KR, CP949 and GBK; and memory that Microsoft's
# debug heap fills with 0xCC and 0xCD, as GBK.
_JEOM = 0x5360  # 占, before Hangul: 占쏙옙
_KUN, _JIN, _KAO = 0x951F, 0x65A4, 0x62F7  # 锟斤拷
_TANG, _TUN = 0x70EB, 0x5C6F  # 烫烫烫, 屯屯屯
# Letters of Latin-1 that follow each other in no language, so many of them.
_LATIN1_RUN = 4
# This share of question marks, three at least, is what a lossy conversion leaves.
_LEAST_QUESTIONS, _QUESTION_SHARE = 3, 0.3


@kernel
def count_damage(
    values: Chars, ends: Longs, classes: Classes, bytes_of: npt.NDArray[np.int16], damaged: Ints
) -> None:
    """Characters of each row that are, or once were several of, what damage leaves.

    bytes_of: int16 [0x10000], the byte that Windows-1252 or Latin-1 read as a character; -1 for
    none. `caption_damage` says what is counted.
    """
    for row in range(len(damaged)):
        found, questions, seen = 0, 0, 0
        at, stop = ends[row], ends[row + 1]
        latin1, ended = 0, -1
        while at < stop:
            value = values[at]
            if value < 0x80:
                questions += value == _QUESTION
                seen += (class_of(classes, value) & _SPACE) == 0
                found += value == 0x7F or value < 0x09 or 0x0D < value < 0x20
                latin1 = 0
                at += 1
                continue
            seen += 1
            size = utf8_size(values, at, stop, bytes_of)
            if size > 0 and (
                at == ended
                or utf8_size(values, at + size, stop, bytes_of) > 0
                or not may_be_meant(values, classes, at, size, ends[row])
            ):
                found += 1
                at += size
                ended = at
                latin1 = 0
                continue
            latin1 = latin1 + 1 if 0xA1 <= value <= 0xFF else 0
            if latin1 == _LATIN1_RUN:
                found += _LATIN1_RUN // 2
            elif latin1 > _LATIN1_RUN:
                found += latin1 % 2 == 0
            found += is_damage(values, classes, at, stop)
            at += 1
        if questions >= _LEAST_QUESTIONS and questions >= _QUESTION_SHARE * seen:
            found += questions
        damaged[row] = found


@kernel
def utf8_size(values: Chars, at: int, stop: int, bytes_of: npt.NDArray[np.int16]) -> int:
    """How many characters from `at` on are the bytes of one character in UTF-8, read as
    Windows-1252; 0 for none. Of two bytes only those that begin with Ã or Â: other pairs, as "É®",
    are written."""
    lead = bytes_of[values[at]] if at < stop and values[at] < 0x10000 else -1
    if lead == 0xC2 or lead == 0xC3:
        size = 2
    elif 0xE0 <= lead <= 0xEF:
        size = 3
    elif 0xF0 <= lead <= 0xF4:
        size = 4
    else:
        return 0
    if at + size > stop:
        return 0
    for i in range(at + 1, at + size):
        byte = bytes_of[values[i]] if values[i] < 0x10000 else -1
        if byte < 0x80 or byte > 0xBF:
            return 0
    return size


@kernel
def may_be_meant(values: Chars, classes: Classes, at: int, size: int, first: int) -> bool:
    """Whether what looks like bytes of UTF-8 is a letter and marks behind it: the capitals of
    "MAÇÃ”", or "voilà…”". Not â and marks, which almost always are quotation marks once more."""
    if size == 4 or values[at] == _A_CIRCUMFLEX:
        return False
    for i in range(at + 1, at + size):
        mark = values[i]
        if not (0x2010 <= mark <= 0x2122 or mark == 0xAE or mark == 0xAB or mark == 0xBB):
            return False
    return size == 3 or (at > first and (class_of(classes, values[at - 1]) & _UPPER) != 0)


@kernel
def is_damage(values: Chars, classes: Classes, at: int, stop: int) -> bool:
    """Whether the character at `at` is one that no writer means, or begins a known sign of loss."""
    value = values[at]
    if (
        value <= 0x9F
        or value == 0xFFFD
        or value == 0xFFFC
        or 0xE000 <= value <= 0xF8FF
        or value >= 0xF0000
        or value & 0xFFFE == 0xFFFE
    ):
        return True
    if value == _JEOM:
        return at + 1 < stop and (class_of(classes, values[at + 1]) & _HANGUL) != 0
    if at + 2 < stop:
        second, third = values[at + 1], values[at + 2]
        if value == _KUN and second == _JIN and third == _KAO:
            return True
        return bool((value == _TANG or value == _TUN) and value == second == third)
    return False
