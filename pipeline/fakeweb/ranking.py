"""How well scores rank right above wrong."""

import numpy as np
from numpy.typing import NDArray


def auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Share of (positive, negative) pairs in which the positive is larger; ties count one half.

    float64 [n] and [m]; NaN when either is empty. Source: Mann and Whitney, 1947.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).mean() / 2 / len(negative))
