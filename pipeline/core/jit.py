"""Loops over bytes and numbers, compiled to machine code.

A kernel is a plain Python function over NumPy arrays and numbers that Numba compiles on its first
call and keeps on disk (beside the source, or in NUMBA_CACHE_DIR). With NUMBA_DISABLE_JIT=1 it runs
as it is written; with NUMBA_BOUNDSCHECK=1 every index is checked, which is how the fuzz tests run.
Import this only where the work is done: Numba takes half a second to load.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function. Divisions by zero give inf or nan; the GIL is released while it runs."""
    compiled: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


# A byte or float of an array as a signed 64-bit integer: uint8 and int64 mixed would give floats.
signed = cast(Callable[[Any], int], np.int64)
