"""Many bytes at a time inside kernels: a text is searched, copied and hashed in words of eight
bytes, and searched in vectors of 32."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.core.jit import kernel
from pipeline.core.strings import Bytes

_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_LOWS = np.uint64(0x7F7F7F7F7F7F7F7F)
# What takes a byte over 0x7F when it is "A" or more, and more than "Z".
_FROM_A = np.uint64((0x80 - 0x41) * 0x0101010101010101)
_ABOVE_Z = np.uint64((0x80 - 0x5B) * 0x0101010101010101)
# Of what `equal_bytes` looks at: a register of AVX2, two of others.
VECTOR_BYTES = 32


def repeated(byte: int) -> np.uint64:
    """A word of eight equal bytes, for `has_byte` and `find_byte`."""
    return np.uint64(byte * 0x0101010101010101)


def _word_at(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """A pointer to the eight bytes from data[at] on."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0])
    place = builder.gep(data.data, [arguments[1]])
    return builder.bitcast(place, ir.IntType(64).as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing: Any, data: Any, at: Any) -> Any:
    """data[at:at + 8] as one little-endian uint64. data: uint8. The caller sees to it that all
    eight bytes are there; no index is checked, and `at` counts from the start."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.load(_word_at(context, builder, signature, arguments))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_word(typing: Any, data: Any, at: Any, word: Any) -> Any:
    """Write a uint64 to data[at:at + 8], as `load_word` reads it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _word_at(context, builder, signature, arguments)).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing: Any, word: Any) -> Any:
    """How many of the lowest bits of a uint64 are zero: int64, 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def equal_bytes(typing: Any, data: Any, at: Any, byte: Any) -> Any:
    """Which of data[at:at + VECTOR_BYTES] are `byte`: bit i of a uint64 for data[at + i].

    data: uint8. byte: int64, of which the lowest eight bits count. The caller sees to it that all
    these bytes are there, as for `load_word`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), VECTOR_BYTES)
        data = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(data.data, [arguments[1]])
        given = builder.load(builder.bitcast(place, vector.as_pointer()), align=1)
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined),
            builder.trunc(arguments[2], ir.IntType(8)),
            ir.Constant(ir.IntType(32), 0),
        )
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), VECTOR_BYTES), [0] * VECTOR_BYTES)
        wanted = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lanes)
        bits = builder.bitcast(builder.icmp_unsigned("==", given, wanted), ir.IntType(VECTOR_BYTES))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(data, types.int64, types.int64), generate


@kernel
def has_byte(word: np.uint64, bytes8: np.uint64) -> np.uint64:
    """0 when no byte of a word is the one that all of `bytes8` is; else the lowest bit that is set
    is in the first such byte. Source: Anderson, "Bit Twiddling Hacks", zero in a word."""
    rest = word ^ bytes8
    return (rest - _ONES) & ~rest & _HIGHS


@kernel
def find_byte(data: Bytes, at: int, stop: int, bytes8: np.uint64) -> int:
    """Where in data[at:stop] the byte that all of `bytes8` is stands first; `stop` for nowhere."""
    while at + 8 <= stop:
        hits = has_byte(load_word(data, at), bytes8)
        if hits:
            at += trailing_zeros(hits) >> 3
            return at
        at += 8
    byte = np.uint8(bytes8 & np.uint64(255))
    while at < stop and data[np.uint64(at)] != byte:
        at += 1
    return at


@kernel
def find_pair(data: Bytes, at: int, stop: int, first: int, second: int) -> int:
    """Where in data[at:stop] two bytes stand first, one behind the other; `stop` for nowhere."""
    while at + VECTOR_BYTES < stop:
        hits = equal_bytes(data, at, first) & equal_bytes(data, at + 1, second)
        if hits:
            at += trailing_zeros(hits)
            return at
        at += VECTOR_BYTES
    while at + 1 < stop:
        if data[at] == first and data[at + 1] == second:
            return at
        at += 1
    return stop


@kernel
def last_word(data: Bytes, at: int, stop: int) -> np.uint64:
    """data[at:stop], fewer than eight bytes, as a word filled up with zeros."""
    if at + 8 <= len(data):
        word: np.uint64 = load_word(data, at)
        return word & ((np.uint64(1) << np.uint64(8 * (stop - at))) - np.uint64(1))
    word = np.uint64(0)
    for i in range(stop - at):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@kernel
def to_lower(word: np.uint64) -> np.uint64:
    """A word with each of its bytes A-Z as a-z. Source: the carries of
    Warren, "Hacker's Delight" (2nd edition), section 6-1, put to another use."""
    lows = word & _LOWS
    is_upper = ((lows + _FROM_A) ^ (lows + _ABOVE_Z)) & ~word & _HIGHS
    return word | is_upper >> np.uint64(2)
