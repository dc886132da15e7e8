"""Coarse clusters of embeddings: centroids by FAISS k-means, and each row's nearest ones.

Embeddings are unit vectors stored as float16. A product of two float16 values below 1 is a multiple
of 2^-48, so a cosine of two of them, summed in float64, is exact and the same in any order: what
FAISS and BLAS find in float32 is only where to look, and what is decided by is exact. So a row's
clusters depend neither on the batch it came in nor on the number of cores.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

# Rows of a cluster, on average, below which nothing is gained by more clusters: comparing a
# thousand rows costs no more than finding them, and each boundary loses neighbours.
_MIN_ROWS = 1000
# Source: FAISS, ClusteringParameters.min_points_per_centroid: fewer are too few to place one.
_TRAIN_ROWS_PER_CENTROID = 39
_ITERATIONS = 20
# Centroids beyond those wanted that are looked at, so that float32 seldom leaves a doubt.
_SPARE = 8
_EXACT_CELLS = 1 << 20  # of float64 at once: 8 MB


class Assigned(NamedTuple):
    """clusters: int32 [n, probe], the nearest first, ties by number. similarity: float64
    [n, probe], the exact cosines to them."""

    clusters: Ints
    similarity: Float64


def slack(width: int) -> float:
    """What a float32 cosine of two unit vectors of so many values can be off by, at most.

    Source: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: n u / (1 - n u)
    times the sum of the absolute products, which is 1 at most; a hundredth is left for norms that
    float16 has rounded up, and a little for bounds that are float32 themselves.
    """
    return 1.01 * width * 2.0**-24 + 2.0**-22


def choose_clusters(rows: int, probe: int, train_rows: int) -> int:
    """How many clusters cost least: probe * sqrt(rows / 2).

    Finding the clusters takes rows * clusters cosines, comparing within them
    (rows * probe)^2 / (2 * clusters). Not more than give 1,000 rows each on average, nor than
    `train_rows` can place at 39 rows a centroid; at least 1.
    """
    cheapest = round(probe * math.sqrt(rows / 2))
    return max(min(cheapest, rows // _MIN_ROWS, train_rows // _TRAIN_ROWS_PER_CENTROID), 1)


def train(vectors: Float32, clusters: int, seed: int, threads: int) -> npt.NDArray[np.float16]:
    """Spherical k-means: centroids of about unit norm, float16 [min(clusters, n), width].

    vectors: unit, float32 [n, width], n > 0, in an order that does not depend on chance. The result
    depends on the seed and, in the last bits, on the processor and on `threads`.
    """
    import faiss

    count = min(clusters, len(vectors))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        kmeans = faiss.Kmeans(
            vectors.shape[1],
            count,
            niter=_ITERATIONS,
            spherical=True,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=-(-len(vectors) // count),
        )
        kmeans.train(np.ascontiguousarray(vectors))
    finally:
        faiss.omp_set_num_threads(before)
    assert kmeans.centroids is not None
    centroids: npt.NDArray[np.float16] = kmeans.centroids.astype(np.float16)
    return centroids


def assign(vectors: Float32, centroids: Float32, probe: int) -> Assigned:
    """The `probe` nearest centroids of each row, or all of them where there are fewer.

    vectors: float32 [n, width], of float16 precision. centroids: float32 [k, width], likewise.
    """
    import faiss

    probe = min(probe, len(centroids))
    looked = min(probe + _SPARE, len(centroids))
    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    near, found = index.search(vectors, looked)
    exact = np.empty(found.shape)
    step = max(_EXACT_CELLS // (looked * centroids.shape[1]), 1)
    for i in range(0, len(vectors), step):
        each = centroids[found[i : i + step]].astype(np.float64)
        exact[i : i + step] = (each @ vectors[i : i + step, :, None].astype(np.float64))[:, :, 0]
    clusters, similarity = _best(found.astype(np.int32), exact, probe)
    if looked < len(centroids):
        doubtful = np.flatnonzero(near[:, probe - 1] - near[:, -1] <= 2 * slack(vectors.shape[1]))
        step = max(_EXACT_CELLS // len(centroids), 1)
        for i in range(0, len(doubtful), step):
            rows = doubtful[i : i + step]
            cosines = _cosines(vectors[rows], centroids)
            every = np.broadcast_to(np.arange(len(centroids), dtype=np.int32), cosines.shape)
            clusters[rows], similarity[rows] = _best(every, cosines, probe)
    return Assigned(clusters, similarity)


def _cosines(vectors: Float32, centroids: Float32) -> Float64:
    """Exact cosines to all centroids, float64 [n, k]; not all centroids in float64 at once."""
    step = max(_EXACT_CELLS // centroids.shape[1], 1)
    wide = vectors.astype(np.float64)
    parts = [
        wide @ centroids[i : i + step].astype(np.float64).T for i in range(0, len(centroids), step)
    ]
    return np.concatenate(parts, axis=1)


def _best(clusters: Ints, similarity: Float64, probe: int) -> tuple[Ints, Float64]:
    """The `probe` columns of highest similarity in each row, ties by the smaller cluster."""
    order = np.lexsort((clusters, -similarity), axis=1)[:, :probe]
    return np.take_along_axis(clusters, order, 1), np.take_along_axis(similarity, order, 1)
