"""Cosines within a cluster, block by block: pairs over a threshold, and SemDeDup's measure.

Both look in float32 (BLAS) and decide in float64, where cosines of float16 vectors are exact (see
`centroids`). So what is found does not depend on how a cluster was cut into blocks and parts.
Memory: one block of cosines, whatever the size of the cluster.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.match.centroids import Float32, Float64, slack

Rows = npt.NDArray[np.int64]

BLOCK_ROWS = 2048
# Pairs whose exact cosines are computed one by one, at once; and the share of a block above which
# the whole block in float64 costs less.
_PAIRS_AT_ONCE = 8192
_DENSE_SHARE = 1 / 32
_MASKED = np.float32(-2)  # below every cosine


class Pairs(NamedTuple):
    """left, right: int64 [n], row numbers. similarity: float64 [n], exact cosines, -1 to 1."""

    left: Rows
    right: Rows
    similarity: Float64


def close_pairs(
    left: Float32, right: Float32 | None, threshold: float, block_rows: int = BLOCK_ROWS
) -> Iterator[Pairs]:
    """Pairs of a row of `left` and one of `right` whose cosine is at least `threshold`.

    left, right: unit, float32 [n, width] of float16 precision. Without `right`, pairs of two rows
    of `left`, each once, the first before the second. Pairs come block by block, of at most
    block_rows^2 each.
    """
    least = np.float32(threshold - slack(left.shape[1]))
    others = left if right is None else right
    for i in range(0, len(left), block_rows):
        rows = left[i : i + block_rows]
        for j in range(i if right is None else 0, len(others), block_rows):
            columns = others[j : j + block_rows]
            is_close = rows @ columns.T >= least
            if right is None and i == j:
                is_close = np.triu(is_close, k=1)
            a, b = np.divmod(np.flatnonzero(is_close), len(columns))
            if not len(a):
                continue
            exact = np.clip(_exact(rows, columns, a, b), -1, 1)
            kept = exact >= threshold
            if kept.any():
                yield Pairs(a[kept] + i, b[kept] + j, exact[kept])


def max_before(
    rows: Float32, others: Float32, before: Rows, block_rows: int = BLOCK_ROWS
) -> Float64:
    """Of each row, the largest cosine to a row of `others` before it; -1 where none is.

    rows, others: unit, float32 [n, width] of float16 precision. before: int64 [n], rising: the
    first `before[i]` rows of `others` come before row i.
    """
    best = np.full(len(rows), -1.0)
    error = slack(rows.shape[1])
    for i in range(0, len(rows), block_rows):
        part, ends = rows[i : i + block_rows], before[i : i + block_rows]
        top = best[i : i + block_rows]  # a view
        for j in range(0, int(ends[-1]), block_rows):
            columns = others[j : min(j + block_rows, int(ends[-1]))]
            cosines = part @ columns.T
            if ends[0] < j + len(columns):
                cosines[np.arange(j, j + len(columns)) >= ends[:, None]] = _MASKED
            # Only what may be the block's largest, and larger than what is known already.
            least = np.maximum(cosines.max(axis=1) - 2 * error, top - error).astype(np.float32)
            a, b = np.divmod(np.flatnonzero(cosines >= least[:, None]), len(columns))
            np.maximum.at(top, a, _exact(part, columns, a, b))
    clipped: Float64 = np.clip(best, -1, 1)
    return clipped


def _exact(left: Float32, right: Float32, a: Rows, b: Rows) -> Float64:
    """Exact cosines of left[a] and right[b], float64."""
    if len(a) > _DENSE_SHARE * len(left) * len(right):
        whole: Float64 = (left.astype(np.float64) @ right.astype(np.float64).T)[a, b]
        return whole
    out = np.empty(len(a))
    for i in range(0, len(a), _PAIRS_AT_ONCE):
        x, y = (
            vectors[chosen[i : i + _PAIRS_AT_ONCE]].astype(np.float64)
            for vectors, chosen in ((left, a), (right, b))
        )
        np.einsum("ij,ij->i", x, y, out=out[i : i + _PAIRS_AT_ONCE])
    return out
