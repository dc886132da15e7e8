"""What is other than in an earlier run or release: which distributions moved, and by how much.

Compared are figures, histograms and counts, never rows. The two may have other bins: where an edge
of the one lies inside a bin of the other, the other's cumulative share there is known only to be
between those at the ends of that bin, and the least difference that can be is taken. So a distance
is exact for equal bins, and else never too large: nothing is held to have moved that has not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pipeline.stats.figures import Column
    from pipeline.stats.page import Figures

F64 = npt.NDArray[np.float64]
Histogram = tuple[F64, F64]  # edges, counts
# PSI: 0.1 to 0.25 is a shift to look into, more is a large one. Source: N. Siddiqi, Credit Risk
# Scorecards (2006), where the rule is of bank practice.
MOVED_PSI = 0.1
# Largest difference of two cumulative shares: 10% of the pairs lie elsewhere.
MOVED_KS = 0.1
# A share of all, such as that of kept pairs.
MOVED_SHARE = 0.05
# Beyond what chance makes of samples of this size, with an error of 1%. Sources: the two-sample
# Kolmogorov-Smirnov test, c(0.01) = 1.628; for PSI, B. Yurdakul, Statistical Properties of
# Population Stability Index (2018): PSI / (1/n + 1/m) is chi-squared with categories - 1 degrees.
_KS_FACTOR = 1.628
_NORMAL_99 = 2.326
_LEAST_SHARE = 1e-4  # of a category that one of the two lacks, so that PSI stays finite
_TOLD = 5
# Categories of a run that are the same in both, by figure and series.
_COUNTED = (
    ("status", "images", "download status"),
    ("consent", "images", "consent"),
    ("caption_kind", "pairs", "caption kind of pairs found"),
    ("caption_lang", "pairs", "language of captions found"),
    ("reason", "first", "first reason to drop"),
)


@dataclass(frozen=True)
class Moved:
    """One distribution.

    kind: "number", "category" or "share". distance: of a number the Kolmogorov-Smirnov distance,
    0 to 1, at least; of categories the population stability index; of a share the difference.
    limit: beyond which it is held to have moved. before, now: medians of numbers, shares of shares,
    else None. wasserstein: of numbers, how far pairs moved on average, in the measure's unit, at
    least.
    jensen_shannon: of categories, the divergence in bits, 0 to 1. changes: of categories, those
    whose share changed most: (name, share before, share now).
    """

    name: str
    kind: str
    distance: float
    limit: float
    before: float | None = None
    now: float | None = None
    wasserstein: float | None = None
    jensen_shannon: float | None = None
    changes: tuple[tuple[str, float, float], ...] = ()

    @property
    def is_moved(self) -> bool:
        return self.distance > self.limit


@dataclass(frozen=True)
class Drift:
    """Of what is kept, against an earlier one. against: its name. moved first, then the rest, each
    by how far beyond its limit it is."""

    against: str
    found: tuple[Moved, ...]

    @property
    def moved(self) -> int:
        return sum(one.is_moved for one in self.found)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "against": self.against,
            "moved": self.moved,
            "distributions": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "is_moved": one.is_moved,
                    "distance": one.distance,
                    "limit": one.limit,
                    "before": one.before,
                    "now": one.now,
                    "wasserstein": one.wasserstein,
                    "jensen_shannon_bits": one.jensen_shannon,
                    "changes": [
                        {"name": name, "before": before, "now": now}
                        for name, before, now in one.changes
                    ],
                }
                for one in self.found
            ],
        }


def compare(
    before: "Figures",
    now: "Figures",
    against: str,
    columns: "Sequence[Column]",
    texts: Sequence[str],
) -> Drift:
    """Compare what both have.

    columns: measures; texts: categories of kept pairs. Of those that only one has, nothing is said.
    """
    found: list[Moved] = []
    for column in columns:
        old_, new_ = _histogram(before, column.name), _histogram(now, column.name)
        if old_ is not None and new_ is not None:
            found.append(number(column.name, old_, new_, column.is_integer))
    counted = [(text, "kept", text.replace("_", " ")) for text in texts] + list(_COUNTED)
    for figure, series, title in counted:
        old, new = before.series(figure, series), now.series(figure, series)
        if sum(old.values()) and sum(new.values()):
            found.append(category(title, old, new))
    if before.all_series("funnel") and now.all_series("funnel"):  # a release has but what was kept
        found += _shares(before, now)
    found.sort(key=lambda m: (not m.is_moved, -m.distance / m.limit if m.limit else 0.0, m.name))
    return Drift(against, tuple(found))


def _histogram(figures: "Figures", name: str) -> Histogram | None:
    """Edges and counts of kept pairs; None without any."""
    edges = np.array([v for _, v in sorted(figures.series("edges", name).items())])
    by_edge = {float(b): n for b, n in figures.series(name, "kept").items() if b != "missing"}
    counts = np.array([by_edge.get(float(edge), 0.0) for edge in edges[:-1]])
    return (edges, counts) if counts.sum() > 0 else None


def number(name: str, before: Histogram, now: Histogram, is_integer: bool = False) -> Moved:
    """How far two histograms of a measure are from each other; both have rows."""
    at = np.union1d(before[0], now[0])
    (low_a, high_a), (low_b, high_b) = _between(at, *before), _between(at, *now)
    apart = np.maximum(0.0, np.maximum(low_a - high_b, low_b - high_a))
    n, m = float(before[1].sum()), float(now[1].sum())
    limit = max(MOVED_KS, _KS_FACTOR * math.sqrt((n + m) / (n * m)))
    area = float(np.sum((apart[1:] + apart[:-1]) / 2 * np.diff(at)))
    middles = [_median(*one, is_integer) for one in (before, now)]
    return Moved(
        name.replace("_", " "), "number", float(apart.max()), limit, middles[0], middles[1], area
    )


def _between(at: F64, edges: F64, counts: F64) -> tuple[F64, F64]:
    """Least and greatest that the share of rows below each place can be; the same at edges."""
    whole = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    low = np.searchsorted(edges, at, side="right") - 1
    high = np.searchsorted(edges, at, side="left")
    return whole[np.clip(low, 0, None)], whole[np.clip(high, None, len(edges) - 1)]


def _median(edges: F64, counts: F64, is_integer: bool) -> float:
    whole = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    i = int(np.searchsorted(whole, 0.5))  # at least 1
    inside = (0.5 - whole[i - 1]) / (whole[i] - whole[i - 1])
    value = float(edges[i - 1] + inside * (edges[i] - edges[i - 1]))
    return float(math.floor(value)) if is_integer else value


def category(name: str, before: Mapping[str, float], now: Mapping[str, float]) -> Moved:
    """How far two counts by name are from each other; both have rows.

    Source of the index: Siddiqi, as above: sum of (q - p) ln(q / p) over categories.
    """
    names = sorted(before.keys() | now.keys())
    n, m = sum(before.values()), sum(now.values())
    p = np.array([before.get(one, 0.0) for one in names]) / n
    q = np.array([now.get(one, 0.0) for one in names]) / m
    p_, q_ = np.maximum(p, _LEAST_SHARE), np.maximum(q, _LEAST_SHARE)
    psi = float(np.sum((q_ - p_) * np.log(q_ / p_)))
    limit = max(MOVED_PSI, _chi_squared_99(len(names) - 1) * (1 / n + 1 / m))
    order = sorted(range(len(names)), key=lambda i: (-abs(p[i] - q[i]), names[i]))
    changes = tuple((names[i] or "none", float(p[i]), float(q[i])) for i in order[:_TOLD])
    return Moved(
        name, "category", psi, limit, jensen_shannon=_divergence(p, q),
        changes=tuple(c for c in changes if c[1] != c[2]),
    )  # fmt: skip


def _divergence(p: F64, q: F64) -> float:
    """Jensen-Shannon divergence, base 2."""
    middle = (p + q) / 2

    def against(one: F64) -> float:
        has = one > 0
        return float(np.sum(one[has] * np.log2(one[has] / middle[has])))

    return max(0.0, (against(p) + against(q)) / 2)


def _chi_squared_99(degrees: int) -> float:
    """The 99% quantile, by Wilson and Hilferty (1931): within 2% from one degree on."""
    if degrees < 1:
        return 0.0
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _NORMAL_99 * math.sqrt(part)) ** 3)


def _shares(before: "Figures", now: "Figures") -> list[Moved]:
    """Shares of the whole: kept of judged pairs, downloaded of images."""
    found = []
    for title, part, whole in (
        ("kept of judged pairs", "kept", "decisions"),
        ("downloaded of images", "downloaded", "images"),
    ):
        sides = [
            (f.value("rows", "rows", part), f.value("rows", "rows", whole)) for f in (before, now)
        ]
        if all(of > 0 for _, of in sides):
            old, new = (of_it / of for of_it, of in sides)
            found.append(Moved(title, "share", abs(new - old), MOVED_SHARE, old, new))
    return found
