"""The loop of `tally`: values into bins."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel
from pipeline.stats.bins import LARGEST


@kernel
def count_values(
    values: npt.NDArray[Any],
    is_kept: npt.NDArray[np.bool_],
    alone: npt.NDArray[np.int32],
    lane: int,
    per_decade: int,
    first: float,
    step: float,
    has_zero: bool,
    counts: npt.NDArray[np.int64],
) -> None:
    """Add rows to counts [3, bins + 1]: of dropped and of kept ones, and of those that `lane` alone
    drops. NaN, infinities and the like have the last place. The other numbers are those of `Bins`.
    """
    last = counts.shape[1] - 2
    shift = float(int(has_zero) - int(first))
    for row in range(len(values)):
        value = float(values[row])
        if not abs(value) < LARGEST:
            number = last + 1
        else:
            place = 0.0
            if per_decade == 0:
                place = np.floor((value - first) / step)
            elif value > 0.0:
                place = np.floor(math.log10(value) * per_decade) + shift
            number = int(min(max(place, 0.0), float(last)))
        counts[1 if is_kept[row] else 0, number] += 1
        if alone[row] == lane:
            counts[2, number] += 1
