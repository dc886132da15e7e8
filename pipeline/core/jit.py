"""Loops over bytes and numbers, compiled to machine code.

A kernel is a plain Python function over NumPy arrays and numbers that Numba compiles on its first
call and keeps on disk, in the user's cache folder unless NUMBA_CACHE_DIR says otherwise. With
NUMBA_BOUNDSCHECK=1 every index is checked, which is how kernels are fuzzed. Import this only where
the work is done: Numba takes half a second to load.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_KERNEL = re.compile(rb"^@(allocating_)?kernel$", re.MULTILINE)


def _cache_folder() -> str:
    """A folder of compiled kernels for just this source.

    Numba compiles a kernel anew when its own file changes, but not when a kernel that it calls
    does: so all kernels' files name the folder. A copy that is read from a zip has no files to look
    at; its place names the folder.
    """
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(str(package).encode())
    for file in sorted(package.glob("*/*.py")):
        source = file.read_bytes()
        if _KERNEL.search(source) or file.name == "jit.py":
            digest.update(source)
    name = f"pairmill/kernels-{digest.hexdigest()[:16]}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder)
    except OSError:  # a user without a home, as some clusters run executors
        pass
    return str(Path(tempfile.gettempdir()) / name)


if "NUMBA_BOUNDSCHECK" not in os.environ:
    os.environ.setdefault("NUMBA_CACHE_DIR", _cache_folder())

import numba  # noqa: E402 - it reads its settings when it is imported
import numpy as np  # noqa: E402


def kernel(function: F) -> F:
    """Compile a function that makes no array, copies none into another and returns none.

    Divisions by zero give inf or nan; the GIL is released while it runs. Arrays are not counted:
    Numba would lock and count at every slice and call, which took an eighth of extract. Where one
    is made all the same, Numba refuses to compile. Raises TypeError where one is returned.
    """
    if "ndarray" in str(function.__annotations__.get("return")):
        raise TypeError(f"{function.__name__}: returns an array, so it is an @allocating_kernel")
    return _compiled(function, is_counted=False)


def allocating_kernel(function: F) -> F:
    """The same for a function that makes arrays, or returns them. What it calls may be either."""
    return _compiled(function, is_counted=True)


def _compiled(function: F, *, is_counted: bool) -> F:
    compiled: F = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=is_counted)(function)
    return compiled


# A byte or float of an array as a signed 64-bit integer: uint8 and int64 mixed would give floats.
signed = cast("Callable[[Any], int]", np.int64)
