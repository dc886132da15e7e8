"""BLAKE2b of many texts in one loop: what `ids` computes with.

Texts are hashed eight at a time, one in each lane of the vectors that the processor has: whichever
is at its end makes room for the next one.

Source: RFC 7693, sections 2.1 to 3.3, without a key, for digests of 16 bytes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.words import last_word, load_word

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

DIGEST_BYTES = 16
_LANES, _BLOCK_WORDS, _BLOCK_BYTES = 8, 16, 128

# Section 2.6: the initialisation vector of SHA-512.
_START = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    np.uint64,
)
# Section 2.8: depth and fanout of 1, no key, the digest's length.
_PARAMETERS = np.uint64(0x01010000 ^ DIGEST_BYTES)
# Section 2.7: which word of the message each of a round's sixteen steps takes.
_ORDERS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_ROUNDS = 12
# Section 3.2: the words that each of a round's eight mixings takes: columns, then diagonals.
_MIXED = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
# Section 2.1: what G rotates to the right by.
_ROTATIONS = 32, 24, 16, 63


def _mix(builder: Any, v: list[Any], places: tuple[int, ...], x: Any, y: Any) -> None:
    """Section 3.1: the function G on four vectors of `v`."""
    a, b, c, d = places

    def rotated(value: Any, bits: int) -> Any:
        right, left = (ir.Constant(value.type, [n] * _LANES) for n in (bits, 64 - bits))
        return builder.or_(builder.lshr(value, right), builder.shl(value, left))

    for word, (first, second) in ((x, _ROTATIONS[:2]), (y, _ROTATIONS[2:])):
        v[a] = builder.add(builder.add(v[a], v[b]), word)
        v[d] = rotated(builder.xor(v[d], v[a]), first)
        v[c] = builder.add(v[c], v[d])
        v[b] = rotated(builder.xor(v[b], v[c]), second)


@intrinsic  # type: ignore[untyped-decorator]
def _compress(typing: Any, h: Any, m: Any, hashed_bytes: Any, is_last: Any) -> Any:
    """Section 3.2: the function F, in place on the chain values h with the blocks m.

    h: uint64 [8, lanes], m: uint64 [16, lanes]. hashed_bytes: uint64 [lanes]. is_last: uint64
    [lanes], all bits set in lanes whose block is the last, else 0. No index is checked. The rounds
    are written out, with the orders of the words in them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Write F's instructions where it is called; the arguments are those of `_compress`."""
        vector = ir.VectorType(ir.IntType(64), _LANES)

        def rows(i: int, count: int) -> list[Any]:
            data = context.make_array(signature.args[i])(context, builder, arguments[i]).data
            first = builder.bitcast(data, vector.as_pointer())
            return [builder.gep(first, [ir.Constant(ir.IntType(64), n)]) for n in range(count)]

        def load(place: Any) -> Any:
            return builder.load(place, align=8)

        chain = rows(0, 8)
        words = [load(place) for place in rows(1, _BLOCK_WORDS)]
        start = [ir.Constant(vector, [int(word)] * _LANES) for word in _START]
        v = [load(place) for place in chain] + start
        v[12] = builder.xor(v[12], load(rows(2, 1)[0]))
        v[14] = builder.xor(v[14], load(rows(3, 1)[0]))
        for number in range(_ROUNDS):
            order = _ORDERS[number % len(_ORDERS)]
            for i, places in enumerate(_MIXED):
                _mix(builder, v, places, words[order[2 * i]], words[order[2 * i + 1]])
        for i, place in enumerate(chain):
            mixed = builder.xor(v[i], v[i + 8])
            builder.store(builder.xor(load(place), mixed), place, align=8)
        return context.get_dummy_value()

    return types.void(h, m, hashed_bytes, is_last), generate


@kernel
def _fill(filled: int, data: U8, at: int, stop: int, m: U64, lane: int) -> int:
    """Put what data[at:stop] begins with into a lane of m, uint64 [16, lanes], behind the words
    that are filled already, and zeros behind it: how many bytes that took."""
    taken = min(stop - at, _BLOCK_BYTES - 8 * filled)
    for i in range(taken >> 3):
        m[filled + i, lane] = load_word(data, at + 8 * i)
    filled += taken >> 3
    if taken & 7:
        m[filled, lane] = last_word(data, stop - (taken & 7), stop)
        filled += 1
    for i in range(filled, _BLOCK_WORDS):
        m[i, lane] = 0
    return taken


@allocating_kernel
def hash_rows(prefixes: U64, ends: npt.NDArray[np.int32], data: U8, digests: U64) -> None:
    """digests[i] = BLAKE2b-128 of prefixes[i] followed by data[ends[i]:ends[i + 1]].

    prefixes: uint64 [rows, words], at most 16 little-endian words. digests: uint64 [rows, 2],
    little-endian, written to.
    """
    h, m = np.empty((8, _LANES), np.uint64), np.zeros((_BLOCK_WORDS, _LANES), np.uint64)
    hashed_bytes, is_last = np.zeros(_LANES, np.uint64), np.zeros(_LANES, np.uint64)
    # Of each lane: its row, and where in data the rest of that begins, -1 before its first block.
    # Rows beyond the last are none.
    rows, places = np.arange(_LANES), np.full(_LANES, -1)
    count, following = len(digests), _LANES
    left = min(count, _LANES)
    while left > 0:
        for lane in range(_LANES):
            row = signed(rows[lane])
            if row >= count:
                continue
            start, stop = signed(ends[row]), signed(ends[row + 1])
            filled = 0
            if places[lane] < 0:
                for i in range(len(_START)):
                    h[i, lane] = _START[i]
                h[0, lane] ^= _PARAMETERS
                places[lane] = start
                filled = prefixes.shape[1]
                for i in range(filled):
                    m[i, lane] = prefixes[row, i]
                hashed_bytes[lane] = 8 * filled
            taken = _fill(filled, data, signed(places[lane]), stop, m, lane)
            places[lane] += taken
            hashed_bytes[lane] += np.uint64(taken)
            is_last[lane] = ~np.uint64(0) if places[lane] == stop else np.uint64(0)
        _compress(h, m, hashed_bytes, is_last)
        for lane in range(_LANES):
            if rows[lane] < count and is_last[lane]:
                digests[rows[lane], 0] = h[0, lane]
                digests[rows[lane], 1] = h[1, lane]
                rows[lane], places[lane] = following, -1
                following += 1
                left -= following > count
