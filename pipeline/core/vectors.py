"""Embeddings as stored: little-endian float16 bytes, and their dot products."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

STORED = np.dtype("<f2")


def pack(vectors: NDArray[np.float32]) -> pa.Array:
    """Vectors [n, width] as a binary array of n values of 2 * width bytes."""
    n, width = vectors.shape
    stored = np.ascontiguousarray(vectors, dtype=STORED)
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(width * STORED.itemsize)
    return pa.Array.from_buffers(
        pa.binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(stored)]
    )


def unpack(column: pa.Array) -> NDArray[np.float32]:
    """Undo `pack`: float32 [n, width]. The column has no nulls and values of one length."""
    return values(column).view(STORED).astype(np.float32)


def values(column: pa.Array) -> NDArray[np.uint8]:
    """A binary array's values as uint8 [n, length], a view; [0, 0] without rows.

    Raises ValueError where they are null or of different lengths.
    """
    if len(column) == 0:
        return np.empty((0, 0), np.uint8)
    wide = pa.types.is_large_binary(column.type)
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
    offsets = offsets[column.offset : column.offset + len(column) + 1]
    sizes = np.diff(offsets)
    if column.null_count or (sizes != sizes[0]).any():
        raise ValueError("values of different lengths in one column")
    first, size = int(offsets[0]), int(sizes[0])
    return np.frombuffer(data, np.uint8)[first : first + size * len(column)].reshape(-1, size)


def similarity(images: pa.Array, texts: pa.Array) -> NDArray[np.float32]:
    """Cosine of each row's two unit vectors, float32 [n], within [-1, 1]."""
    product = np.einsum("ij,ij->i", unpack(images), unpack(texts))
    clipped: NDArray[np.float32] = np.clip(product, -1, 1)
    return clipped
