"""UTF-8 inside kernels."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel

# A byte as a signed number: Numba makes a float of an unsigned and a signed one together.
signed = cast("Callable[[Any], int]", np.int64)


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
