"""Histogram bins chosen from extremes alone, so that they do not depend on the order of rows."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# What is not below is no measure of anything, but a mistake.
LARGEST = 1e300
_TARGET_BINS = 30
_LOG_FROM_RATIO = 20  # a measure that spans more than this is drawn on a log scale
_MOST_DECADES_AT = {10: 4, 5: 8, 2: 20}  # bins per decade -> decades it is used up to


@dataclass(frozen=True)
class Bins:
    """Half-open bins [edge i, edge i+1); `index` puts values outside into the first or last bin.

    edges: ascending, one more than there are bins.
    per_decade: bins per power of ten, 0 for a linear scale.
    first: linear: the lowest edge; log: the first edge's exponent times `per_decade`.
    step: width of a linear bin.
    has_zero: log only: a leading bin [0, first edge) holds the zeros.
    """

    edges: tuple[float, ...]
    per_decade: int = 0
    first: float = 0.0
    step: float = 1.0
    has_zero: bool = False

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    def index(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Bin numbers of doubles; `count` for NaN, infinities and what is not below LARGEST.

        `tally_kernel` gives the same, for many rows.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            if not self.per_decade:
                raw = np.floor((values - self.first) / self.step)
            else:
                shift = int(self.has_zero) - int(self.first)
                raw = np.floor(np.log10(values) * self.per_decade) + shift
                raw = np.where(values <= 0, 0, raw)
        raw = np.clip(raw, 0, self.count - 1)
        return np.where(np.abs(values) < LARGEST, raw, self.count).astype(np.int64)


def choose(low: float, high: float, *, integer: bool, log: bool | None = None) -> Bins:
    """Bins that cover [low, high].

    log: None decides by the span: integers from 0 and numbers from 1 up that span a factor of
    20 get a log scale; shares and cosines stay linear.
    """
    if log is None:
        floor = max(low, 1.0)
        log = (low >= 1 or (integer and low >= 0)) and high / floor >= _LOG_FROM_RATIO
    if log and high > 0:
        return _logarithmic(low, high, integer)
    return _linear(low, high, integer)


def _linear(low: float, high: float, integer: bool) -> Bins:
    step = _nice((high - low) / _TARGET_BINS) if high > low else 1.0
    if integer:
        step = max(1.0, math.ceil(step))
    first = math.floor(low / step) * step
    count = max(1, math.floor((high - first) / step) + 1)
    digits = max(0, 3 - math.floor(math.log10(step)))
    return Bins(tuple(round(first + i * step, digits) for i in range(count + 1)), 0, first, step)


def _logarithmic(low: float, high: float, integer: bool) -> Bins:
    has_zero = low <= 0
    start = 1.0 if integer else min(high, 1.0)
    start = low if low > 0 else start
    decades = math.log10(high / start)
    # Below ten, ten bins per decade leave gaps between the integers; five leave none.
    usable = [n for n in _MOST_DECADES_AT if n == 2 or n == 5 or not integer or start >= 10]
    per_decade = next((n for n in usable if decades <= _MOST_DECADES_AT[n]), 1)
    first = math.floor(math.log10(start) * per_decade)
    last = max(math.floor(math.log10(high) * per_decade), first)
    edges = tuple(float(f"{10 ** (k / per_decade):.6g}") for k in range(first, last + 2))
    return Bins((0.0, *edges) if has_zero else edges, per_decade, first, 1.0, has_zero)


def _nice(width: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= width * (1 - 1e-9))
