"""The second opinion on a candidate: the 256-bit hash and the shape must agree too."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import ContractError
from pipeline.core.ids import ID_BYTES
from pipeline.core.reasons import MatchReason
from pipeline.match.blocks import U64

HASH256_BYTES = 32
VERIFIED_SCHEMA = (
    "fingerprint_a binary, fingerprint_b binary, distance int, distance256 int, reason string"
)


def verify(
    batches: Iterator[pa.RecordBatch], radius256: int, aspect_tolerance: float
) -> Iterator[pa.RecordBatch]:
    """Judge candidate pairs; `reason` is null for an edge, else the first check that fails.

    Rows of `nodes.WHOLE` in, rows of VERIFIED_SCHEMA out, fingerprint_a the smaller.
    radius256: largest accepted distance of hash256, in bits.
    aspect_tolerance: how much wider, relative to its height, one may be than the other: 0.1 = 10%.
    """
    for batch in batches:
        distance256 = hash256_distance(batch.column("hash256_a"), batch.column("hash256_b"))
        a = batch.column("aspect_a").to_numpy(zero_copy_only=False)
        b = batch.column("aspect_b").to_numpy(zero_copy_only=False)
        has_shape = np.maximum(a, b) <= np.minimum(a, b) * (1 + aspect_tolerance)
        reasons = np.full(batch.num_rows, None, dtype=object)
        reasons[~has_shape] = str(MatchReason.SHAPE_DIFFERS)
        reasons[distance256 > radius256] = str(MatchReason.HASH256_DIFFERS)
        first, second = _ordered(batch.column("fingerprint_a"), batch.column("fingerprint_b"))
        yield pa.RecordBatch.from_arrays(
            [
                first,
                second,
                batch.column("distance"),
                pa.array(distance256, pa.int32()),
                pa.array(reasons, pa.string()),
            ],
            names=["fingerprint_a", "fingerprint_b", "distance", "distance256", "reason"],
        )


def hash256_distance(a: pa.Array, b: pa.Array) -> npt.NDArray[np.int32]:
    """Hamming distances of two binary columns of 32-byte values, in bits, int32.

    Raises ContractError when a value has another length.
    """
    differing = _words(a) ^ _words(b)
    distance: npt.NDArray[np.int32] = np.bitwise_count(differing).sum(axis=1, dtype=np.int32)
    return distance


def _words(hashes: pa.Array) -> U64:
    """uint64 [rows, 4]."""
    try:
        fixed = hashes.cast(pa.binary(HASH256_BYTES))
    except pa.ArrowInvalid:
        raise ContractError(f"a hash256 is not {HASH256_BYTES} bytes long") from None
    if fixed.null_count:
        raise ContractError("a hash256 is null")
    words = np.frombuffer(fixed.buffers()[1], dtype=np.uint64).reshape(-1, 4)
    return words[fixed.offset : fixed.offset + len(fixed)]


def _ordered(a: pa.Array, b: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Two columns of ids with the smaller one of each row in the first."""
    (a_high, a_low), (b_high, b_low) = _id_words(a), _id_words(b)
    swapped = pa.array((a_high > b_high) | ((a_high == b_high) & (a_low > b_low)))
    return pc.if_else(swapped, b, a), pc.if_else(swapped, a, b)


def _id_words(ids: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The two halves of 16-byte ids, which order them as their bytes do."""
    fixed = ids.cast(pa.binary(ID_BYTES))
    words = np.frombuffer(fixed.buffers()[1], dtype=">u8").reshape(-1, 2)
    words = words[fixed.offset : fixed.offset + len(fixed)]
    return words[:, 0], words[:, 1]
