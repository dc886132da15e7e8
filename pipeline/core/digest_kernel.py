"""BLAKE2b of many texts in one loop: what `ids` computes with.

Source: RFC 7693, sections 2.1 to 3.3, without a key, for digests of 16 bytes.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

DIGEST_BYTES = 16
_BLOCK_WORDS = 16

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


@kernel
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Section 3.1: the function G. Rotations to the right by 32, 24, 16 and 63 bits."""
    a = a + b + x
    d = d ^ a
    d = (d >> np.uint64(32)) | (d << np.uint64(32))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(24)) | (b << np.uint64(40))
    a = a + b + y
    d = d ^ a
    d = (d >> np.uint64(16)) | (d << np.uint64(48))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(63)) | (b << np.uint64(1))
    return a, b, c, d


@kernel
def _compress(h: U64, m: U64, hashed_bytes: np.uint64, is_last: bool) -> None:
    """Section 3.2: the function F, in place on the chain value h [8] with the block m [16].

    The twelve rounds are written out, with the message's order (section 2.7) in their indices:
    a loop over a table takes half as long again.
    """
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _START[0], _START[1], _START[2], _START[3]
    v12, v13, v14, v15 = _START[4] ^ hashed_bytes, _START[5], _START[6], _START[7]
    if is_last:
        v14 = ~v14
    # round 0
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[0], m[1])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[2], m[3])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[4], m[5])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[6], m[7])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[8], m[9])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[10], m[11])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[12], m[13])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[14], m[15])
    # round 1
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[14], m[10])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[4], m[8])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[9], m[15])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[13], m[6])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[1], m[12])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[0], m[2])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[11], m[7])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[5], m[3])
    # round 2
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[11], m[8])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[12], m[0])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[5], m[2])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[15], m[13])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[10], m[14])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[3], m[6])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[7], m[1])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[9], m[4])
    # round 3
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[7], m[9])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[3], m[1])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[13], m[12])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[11], m[14])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[2], m[6])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[5], m[10])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[4], m[0])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[15], m[8])
    # round 4
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[9], m[0])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[5], m[7])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[2], m[4])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[10], m[15])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[14], m[1])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[11], m[12])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[6], m[8])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[3], m[13])
    # round 5
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[2], m[12])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[6], m[10])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[0], m[11])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[8], m[3])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[4], m[13])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[7], m[5])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[15], m[14])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[1], m[9])
    # round 6
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[12], m[5])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[1], m[15])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[14], m[13])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[4], m[10])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[0], m[7])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[6], m[3])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[9], m[2])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[8], m[11])
    # round 7
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[13], m[11])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[7], m[14])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[12], m[1])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[3], m[9])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[5], m[0])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[15], m[4])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[8], m[6])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[2], m[10])
    # round 8
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[6], m[15])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[14], m[9])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[11], m[3])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[0], m[8])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[12], m[2])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[13], m[7])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[1], m[4])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[10], m[5])
    # round 9
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[10], m[2])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[8], m[4])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[7], m[6])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[1], m[5])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[15], m[11])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[9], m[14])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[3], m[12])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[13], m[0])
    # round 10
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[0], m[1])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[2], m[3])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[4], m[5])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[6], m[7])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[8], m[9])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[10], m[11])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[12], m[13])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[14], m[15])
    # round 11
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[14], m[10])
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[4], m[8])
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[9], m[15])
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[13], m[6])
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[1], m[12])
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[0], m[2])
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[11], m[7])
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[5], m[3])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@kernel
def _word(data: U8, at: int) -> np.uint64:
    """Eight bytes as a little-endian word; compiled to one load."""
    word = np.uint64(0)
    for i in range(8):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@kernel
def hash_rows(prefixes: U64, ends: npt.NDArray[np.int32], data: U8, digests: U64) -> None:
    """digests[i] = BLAKE2b-128 of prefixes[i] followed by data[ends[i]:ends[i + 1]].

    prefixes: uint64 [rows, words], at most 16 little-endian words. digests: uint64 [rows, 2],
    little-endian, written to.
    """
    h = np.empty(8, np.uint64)
    m = np.empty(_BLOCK_WORDS, np.uint64)
    prefix_words = prefixes.shape[1]
    for row in range(len(digests)):
        h[:] = _START
        # Section 2.8: depth and fanout of 1, no key, the digest's length.
        h[0] ^= np.uint64(0x01010000 ^ DIGEST_BYTES)
        for i in range(prefix_words):
            m[i] = prefixes[row, i]
        filled = prefix_words
        hashed = np.uint64(0)
        at, stop = int(ends[row]), int(ends[row + 1])
        # The last block is never compressed before it is known to be the last.
        while 8 * filled + (stop - at) > 8 * _BLOCK_WORDS:
            for i in range(filled, _BLOCK_WORDS):
                m[i] = _word(data, at)
                at += 8
            filled = 0
            hashed += np.uint64(8 * _BLOCK_WORDS)
            _compress(h, m, hashed, False)
        hashed += np.uint64(8 * filled + (stop - at))
        while stop - at >= 8:
            m[filled] = _word(data, at)
            at += 8
            filled += 1
        if at < stop:
            m[filled] = np.uint64(0)
            for i in range(stop - at):
                m[filled] |= np.uint64(data[at + i]) << np.uint64(8 * i)
            filled += 1
        for i in range(filled, _BLOCK_WORDS):
            m[i] = np.uint64(0)
        _compress(h, m, hashed, True)
        digests[row, 0] = h[0]
        digests[row, 1] = h[1]
