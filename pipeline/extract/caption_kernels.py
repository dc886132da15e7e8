"""Which captions are in normal form, and which only need their white space collapsed.

Both kinds are plain: their characters need nothing, as `caption_tables` says, and no two
neighbours look like mojibake. All other rows are for the general path.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.utf8 import decode

# What a character is, in the table of `caption_tables`.
PLAIN = 0  # nothing has to be done to it, wherever it stands
SPACES = 1  # a run of them becomes one space
SLOW = 2  # needs the general path
# Of mojibake, and plain where no neighbour makes it suspect.
FIRST_SUSPECT = 3
LETTER, RISKY, LOWER, LIGATURE, UPPER, LEADING = 3, 4, 5, 6, 7, 8
COMMON, OPENING, CLOSING, BAD = 9, 10, 11, 12
# From here on marks, in the order of their combining classes.
FIRST_MARK = 16

# What has to be done to a row.
UNCHANGED, COLLAPSE, GENERAL = 0, 1, 2

_LONGEST_ENTITY = 33  # bytes, of those that `captions` resolves

Bytes = npt.NDArray[np.uint8]
Ends = npt.NDArray[np.int32]


@kernel
def _is_space(
    data: npt.NDArray[np.uint8], at: int, stop: int, table: npt.NDArray[np.uint8]
) -> bool:
    """True when white space of any kind, which becomes a space, stands at data[at]."""
    code, size = decode(data, at, stop)
    is_character = code < 0x80 or size > 1
    return is_character and code < 0x10000 and signed(table[code]) == SPACES


@kernel
def examine(
    ends: Ends,
    data: Bytes,
    table: Bytes,
    suspects: npt.NDArray[np.bool_],
    max_bytes: int,
    verdicts: Bytes,
) -> None:
    """UNCHANGED, COLLAPSE or GENERAL for each row.

    table: uint8 [0x10000], suspects: bool [16, 16] of the kinds of two neighbours, both from
    `caption_tables`. A row over max_bytes is GENERAL, and so is one that is not UTF-8.
    verdicts: uint8 [rows].
    """
    for row in range(len(ends) - 1):
        at, stop = signed(ends[row]), signed(ends[row + 1])
        verdict = UNCHANGED if stop - at <= max_bytes else GENERAL
        previous = mark = PLAIN
        is_after_space = True
        while at < stop and verdict != GENERAL:
            lead = signed(data[at])
            if lead < 0x80:
                kind = signed(table[lead])
                at += 1
                if kind == SPACES:
                    if is_after_space or lead != 0x20:
                        verdict = COLLAPSE
                    is_after_space = True
                else:
                    is_after_space = False
                    if kind == SLOW or (lead == 0x26 and is_entity(data, at, stop)):
                        verdict = GENERAL
                previous = mark = PLAIN
                continue
            code, size = decode(data, at, stop)
            at += size
            if size == 1:
                verdict = GENERAL
                break
            if code >= 0x10000:
                kind = PLAIN if _is_plain_beyond(code) else SLOW
            else:
                kind = signed(table[code])
            if kind == SLOW:
                verdict = GENERAL
            elif kind >= FIRST_MARK:
                if kind < mark:
                    verdict = GENERAL
            elif kind >= FIRST_SUSPECT or code == 0xA0:
                paired = COMMON if code == 0xA0 else kind
                if suspects[previous, paired]:
                    verdict = GENERAL
                elif kind == LIGATURE:
                    if at < stop and not _is_ascii_letter(data[at]):
                        verdict = GENERAL
                elif kind == LEADING and at < stop and _is_space(data, at, stop, table):
                    verdict = GENERAL
            is_space = kind == SPACES
            if is_space and verdict == UNCHANGED:
                verdict = COLLAPSE
            is_after_space = is_space
            mark = kind if kind >= FIRST_MARK else PLAIN
            previous = COMMON if code == 0xA0 else kind if kind < FIRST_MARK else PLAIN
        if is_after_space and verdict == UNCHANGED and ends[row] < ends[row + 1]:
            verdict = COLLAPSE
        verdicts[row] = verdict


@kernel
def is_entity(data: Bytes, at: int, stop: int) -> bool:
    """After an ampersand: something that may be a character reference, with its semicolon."""
    for i in range(at, min(stop, at + _LONGEST_ENTITY)):
        byte = data[i]
        if byte == 0x3B:
            return i > at
        is_digit = 0x30 <= byte <= 0x39
        if not (is_digit or _is_ascii_letter(byte) or (byte == 0x23 and i == at)):
            return False
    return False


@kernel
def _is_ascii_letter(byte: int) -> bool:
    return 0x61 <= byte | 0x20 <= 0x7A


@kernel
def _is_plain_beyond(code: int) -> bool:
    """Beyond the basic plane: emoji and pictographs, and Han characters but the compatibility
    ones. Source: Unicode Standard 16.0, Blocks.txt."""
    return 0x1F000 <= code <= 0x1FAFF or 0x20000 <= code <= 0x2EBEF or 0x30000 <= code <= 0x323AF


@kernel
def collapse(
    ends: Ends,
    data: Bytes,
    table: Bytes,
    verdicts: Bytes,
    general_ends: Ends,
    general_data: Bytes,
    new_ends: Ends,
    new_data: Bytes,
) -> None:
    """Write every row's normal form: a GENERAL row is the next one of general_ends and
    general_data; runs of SPACES become one space and go at both ends.

    verdicts: as `examine` gives them. new_ends: int32 [rows + 1], new_data: uint8, as large as both
    data together.
    """
    out, general = 0, 0
    new_ends[0] = 0
    for row in range(len(ends) - 1):
        if verdicts[row] == GENERAL:
            for i in range(general_ends[general], general_ends[general + 1]):
                new_data[out] = general_data[i]
                out += 1
            general += 1
        elif verdicts[row] == UNCHANGED:
            for i in range(ends[row], ends[row + 1]):
                new_data[out] = data[i]
                out += 1
        else:
            at, stop, begin = signed(ends[row]), signed(ends[row + 1]), out
            is_waiting = False
            while at < stop:
                code, size = signed(data[at]), 1
                if code >= 0x80:
                    code, size = decode(data, at, stop)
                if code < 0x10000 and table[code] == SPACES:
                    is_waiting = out > begin
                else:
                    if is_waiting:
                        new_data[out] = 0x20
                        out += 1
                        is_waiting = False
                    for i in range(at, at + size):
                        new_data[out] = data[i]
                        out += 1
                at += size
        new_ends[row + 1] = out
