"""Means over seeds with Student's intervals, and paired differences between what was trained.

An interval speaks of other seeds (initial weights, order, random subsets): the evaluation set is
the same for all, and the view is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

CONFIDENCE = 0.95
Verdict = Literal["better", "not told apart", "worse"]


@dataclass(frozen=True)
class Estimate:
    """A mean of n values. half: half the width of its interval, None for one value alone."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float:
        """The lower end of the interval; without one, minus infinity."""
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval; without one, infinity."""
        return math.inf if self.half is None else self.mean + self.half

    @property
    def verdict(self) -> Verdict:
        """Of a difference: on which side of zero the whole interval lies."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not told apart"


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean and its interval: mean +- t * s / sqrt(n), t of n - 1 degrees of freedom.

    Source: Student, "The Probable Error of a Mean", Biometrika 6 (1908). Raises ValueError for no
    values.
    """
    if not len(values):
        raise ValueError("no values to take the mean of")
    found = np.asarray(values, np.float64)
    n = len(found)
    if n == 1:
        return Estimate(float(found[0]), None, 1)
    from scipy import stats

    t = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    return Estimate(float(found.mean()), t * float(found.std(ddof=1)) / math.sqrt(n), n)


def difference(
    values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of values - others with its interval, paired: values[i] and others[i] are of one
    seed. It excludes zero just when a paired t-test rejects at 1 - confidence.

    Raises ValueError when they are not of equal number.
    """
    pairs = zip(values, others, strict=True)
    return estimate([value - other for value, other in pairs], confidence)
