"""How evenly pairs are spread over domains: shares of the largest, Gini, Lorenz curve.

All from a count of counts: how many domains have 1, 2, 3, ... pairs, which is short however many
domains there are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Row = tuple[str, str, str, float]
F64 = npt.NDArray[np.float64]
TOP = (1, 10, 100, 1000, 10_000)
_LORENZ_POINTS = 40


@dataclass(frozen=True)
class Spread:
    """members: how many there are (domains). rows: of them all (pairs). single: members with one
    row. half: the fewest members that together have half of the rows. top: k -> share of the rows
    that the k largest have, 0 to 1. gini: 0 when all have as many, towards 1 when one has all.
    lorenz: (share of members, the smallest first; share of the rows these have), rising from (0, 0)
    to (1, 1).

    Source of the Gini coefficient of grouped values: twice the area between Lorenz curve and
    diagonal, https://mathworld.wolfram.com/GiniCoefficient.html
    """

    members: int
    rows: int
    single: int
    half: int
    top: dict[int, float]
    gini: float
    lorenz: tuple[tuple[float, float], ...]


def spread(sizes: Mapping[int, int]) -> Spread | None:
    """The spread of members by size. sizes: rows of a member -> how many members have as many.
    None without rows."""
    held = sorted((size, count) for size, count in sizes.items() if size > 0 and count > 0)
    if not held:
        return None
    size, count = (np.array(column, np.float64) for column in zip(*held, strict=True))
    members, rows = np.cumsum(count), np.cumsum(size * count)
    x = np.concatenate([[0.0], members / members[-1]])
    y = np.concatenate([[0.0], rows / rows[-1]])
    gini = 1.0 - float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])))
    total = int(members[-1])
    top = {k: 1.0 - _at(1.0 - k / total, x, y) for k in TOP if k < total}
    # The larger ones, up to half of the rows: where the curve, from below, passes one half.
    half = int(np.ceil(total * (1.0 - float(np.interp(0.5, y, x))) - 1e-9))
    points = np.linspace(0.0, 1.0, _LORENZ_POINTS + 1)
    lorenz = tuple((float(p), _at(float(p), x, y)) for p in points)
    single = sizes.get(1, 0)
    return Spread(total, int(rows[-1]), single, max(1, half), top, max(0.0, gini), lorenz)


def _at(share: float, x: F64, y: F64) -> float:
    return float(np.interp(share, x, y))


def size_bins(sizes: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Members by size in the ranges that begin at 1, 2, 5, 10, ...: low end -> (members, rows)."""
    found: dict[int, tuple[int, int]] = {}
    for size, count in sizes.items():
        low = 10 ** (len(str(size)) - 1)
        low *= 5 if size >= 5 * low else 2 if size >= 2 * low else 1
        members, rows = found.get(low, (0, 0))
        found[low] = (members + count, rows + size * count)
    return dict(sorted(found.items()))


def spread_rows(series: str, sizes: Mapping[int, int]) -> Iterator[Row]:
    """'domain_spread', 'domain_lorenz' and 'domain_size' of one series; sizes: as of `spread`."""
    found = spread(sizes)
    if found is None:
        return
    for bucket, value in (
        ("gini", found.gini),
        ("half", found.half),
        ("single", found.single),
        *((f"top_{k}", share) for k, share in found.top.items()),
    ):
        yield "domain_spread", series, bucket, float(value)
    for x, y in found.lorenz:
        yield "domain_lorenz", series, f"{x:.3f}", y
    for low, (members, rows) in size_bins(sizes).items():
        yield "domain_size", f"{series}:domains", str(low), float(members)
        yield "domain_size", f"{series}:pairs", str(low), float(rows)
