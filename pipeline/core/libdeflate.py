"""libdeflate, as the package `deflate` ships it, for kernels that call it themselves."""

import ctypes
import importlib.util


def library() -> ctypes.CDLL:
    """The library. Source of its functions: libdeflate.h, Eric Biggers."""
    spec = importlib.util.find_spec("deflate._deflate")
    assert spec is not None
    return ctypes.CDLL(spec.origin)


def address(function: "ctypes._NamedFuncPointer") -> int:
    """Where a function of the library begins."""
    found = ctypes.cast(function, ctypes.c_void_p).value
    assert found is not None
    return found
