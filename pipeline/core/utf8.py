"""UTF-8 inside kernels."""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.words import load_word, trailing_zeros

_HIGH_BITS = np.uint64(0x8080808080808080)


@kernel
def decode(data: npt.NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """The code point at `at` and the number of its bytes, none of them at or beyond `stop`.

    What is not UTF-8 gives (the byte, 1), and so is known by a code of 0x80 or more in one byte.
    Surrogates and overlong forms of three and four bytes are not told apart.
    """
    lead = signed(data[at])
    if lead < 0xC2 or lead > 0xF4:
        return lead, 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if at + size > stop:
        return lead, 1
    code = lead & (0x7F >> size)
    for i in range(at + 1, at + size):
        if data[i] & 0xC0 != 0x80:
            return lead, 1
        code = code << 6 | signed(data[i] & 0x3F)
    return code, size


def is_valid(data: bytes) -> bool:
    """True when the bytes are UTF-8, as Python's decoder has it, at ten times its speed."""
    return data.isascii() or bool(find_invalid(np.frombuffer(data, np.uint8)) < 0)


@kernel
def find_invalid(data: npt.NDArray[np.uint8]) -> int:
    """Where the first byte that is not UTF-8 stands; -1 for nowhere.

    Source: Unicode Standard 16.0, table 3-7 "Well-Formed UTF-8 Byte Sequences".
    """
    at, stop = 0, len(data)
    while at < stop:
        lead = data[at]
        if lead < 0x80:
            while at + 32 <= stop:
                words = load_word(data, at) | load_word(data, at + 8)
                words |= load_word(data, at + 16) | load_word(data, at + 24)
                if words & _HIGH_BITS != 0:
                    break
                at += 32
            while at + 8 <= stop:
                hits = load_word(data, at) & _HIGH_BITS
                if hits != 0:
                    at += trailing_zeros(hits) >> 3
                    break
                at += 8
            while at < stop and data[at] < 0x80:
                at += 1
            continue
        if lead < 0xC2 or lead > 0xF4:
            return at
        size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if at + size > stop:
            return at
        second = data[at + 1]
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if second < low or second > high:
            return at
        for i in range(at + 2, at + size):
            if data[i] & 0xC0 != 0x80:
                return at
        at += size
    return -1
