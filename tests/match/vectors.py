"""Embeddings for tests: unit vectors as stored, with planted copies, and direct searches of them."""

import numpy as np
import numpy.typing as npt

from pipeline.match.centroids import Float32, Float64


def stored(vectors: npt.NDArray[np.floating]) -> Float32:
    """Unit vectors of float16 precision, as they come out of the embeddings table."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float16).astype(np.float32)


def clumped(rows: int, width: int, seed: int, clumps: int = 5, noise: float = 0.3) -> Float32:
    """Vectors around a few directions; every fifth is another one again, or nearly."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clumps, width))
    found = centres[rng.integers(0, clumps, rows)] + noise * rng.normal(size=(rows, width))
    copies = np.arange(0, rows - 1, 5)
    found[copies] = found[copies + 1] + rng.choice([0, 0.01], (len(copies), 1)) * noise
    return stored(found)


def cosines(vectors: Float32) -> Float64:
    """All of them, exact: float64 [n, n], within -1 and 1."""
    wide = vectors.astype(np.float64)
    found: Float64 = np.clip(wide @ wide.T, -1, 1)
    return found


def digests(rows: int, seed: int = 0) -> list[bytes]:
    """Distinct 16-byte ids, evenly distributed."""
    data = np.random.default_rng(seed).integers(0, 256, (rows, 16), dtype=np.uint8)
    return [bytes(row) for row in data]
