"""Gzip members of an archive inflated one after the other by libdeflate, without Python between.

libdeflate inflates a whole member at once and says where it ends, in three quarters of the time of
other libraries. The package `deflate` ships it; what that offers to Python wants to know a member's
size beforehand, so the library's own function is called.
Source: libdeflate.h (libdeflate_gzip_decompress_ex), Eric Biggers.
"""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.libdeflate import address, library
from pipeline.core.strings import Bytes

Rows = npt.NDArray[np.int64]
# Columns of what is inflated: of the member in the file, then of its content in `plain`.
MEMBER_OFFSET, MEMBER_BYTES, PLAIN_START, PLAIN_STOP = range(4)
# Cells of a watch: how much was begun, and the place that was turned to last.
STEPS, OFFSET, INNER = range(3)
# In place of `inner` while a member is inflated: no record of it is there yet.
READING_MEMBER = -1
_MAGIC = 0x1F, 0x8B, 0x08
SUCCESS = 0


def new_watch() -> Rows:
    """Cells in which is noted what is turned to, before native code sees it; all zero."""
    return np.zeros(3, np.int64)


def note(watch: Rows, offset: int, inner: int) -> None:
    """Note a place in the file, and that another step was begun."""
    watch[STEPS] += 1
    watch[OFFSET] = offset
    watch[INNER] = inner


class Inflater:
    """libdeflate's memory for one thread. Raises MemoryError."""

    def __init__(self) -> None:
        loaded = library()
        loaded.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        self._free = loaded.libdeflate_free_decompressor
        self._free.argtypes = [ctypes.c_void_p]
        self.handle: int = loaded.libdeflate_alloc_decompressor()
        if not self.handle:
            raise MemoryError
        self.function = address(loaded.libdeflate_gzip_decompress_ex)

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            self._free(self.handle)


@kernel
def is_member(data: Bytes, at: int) -> bool:
    """Whether a gzip member starts at data[at]. Checks no bound."""
    return bool(data[at] == _MAGIC[0] and data[at + 1] == _MAGIC[1] and data[at + 2] == _MAGIC[2])


@intrinsic  # type: ignore[untyped-decorator]
def inflate(
    typing: Any, function: Any, handle: Any, data: Any, at: Any, plain: Any, start: Any, sizes: Any
) -> Any:
    """Inflate the member at data[at] to plain[start:]; libdeflate's result, 0 for success.

    sizes: int64 [2], the bytes of the member and of its content. Neither index is checked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        size = word.as_pointer()
        form = ir.FunctionType(ir.IntType(32), [word, byte, word, byte, word, size, size])

        def array(i: int) -> Any:
            return context.make_array(signature.args[i])(context, builder, arguments[i])

        def rest(i: int) -> Any:
            place = builder.gep(array(i).data, [arguments[i + 1]])
            return place, builder.sub(array(i).nitems, arguments[i + 1])

        used = array(6).data
        address = builder.inttoptr(arguments[0], form.as_pointer())
        given = [arguments[1], *rest(2), *rest(4), used]
        result = builder.call(address, [*given, builder.gep(used, [ir.Constant(word, 1)])])
        return builder.sext(result, word)

    number = types.int64
    return number(number, number, data, number, plain, number, sizes), generate


@allocating_kernel
def inflate_members(
    function: int,
    handle: int,
    data: Bytes,
    at: int,
    last: int,
    offset: int,
    plain: Bytes,
    enough: int,
    members: Rows,
    watch: Rows,
) -> int:
    """Inflate the members from data[at] on, one after the other; how many.

    function, handle: of an Inflater. data: uint8. last: none is begun behind it. offset: of data[0]
    in the file. plain: uint8, its room bounds a member's content. enough: bytes of content after
    which none is begun. members: int64 [most, 4], filled. watch: each is noted in it before it
    is inflated. Ends before the first that is damaged, not whole in `data`, or has no room.
    """
    sizes = np.zeros(2, np.int64)
    count, start = 0, 0
    while count < len(members) and start < enough and at <= last and at + 18 <= len(data):
        if not is_member(data, at):
            break
        watch[STEPS] += 1
        watch[OFFSET] = offset + at
        watch[INNER] = READING_MEMBER
        if inflate(function, handle, data, signed(at), plain, signed(start), sizes) != SUCCESS:
            break
        members[count, MEMBER_OFFSET] = offset + at
        members[count, MEMBER_BYTES] = sizes[0]
        members[count, PLAIN_START] = start
        start += sizes[1]
        members[count, PLAIN_STOP] = start
        at += sizes[0]
        count += 1
    return count
