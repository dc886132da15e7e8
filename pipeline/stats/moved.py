"""What moving one bound would keep, all others as they are: from the counts of a histogram.

A pair that only this bound drops is counted in the bin of its value; with those that are kept they
are all that a place of this bound decides about. At the edges of bins the counts are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A place of a bound, and how many pairs it keeps."""

    value: float
    kept: float


@dataclass(frozen=True)
class Curve:
    """One side of a bound, moved. side: "low" or "high". now: where it is, and what is kept.

    places: by value; the ends of the axis and the edges of bins between them.
    """

    side: str
    now: Place
    places: tuple[Place, ...]

    def shown(self, most: int = 9) -> list[Place]:
        """Some of the places, evenly taken, and the present one, by value."""
        inner = [p for p in self.places if p.value != self.now.value]
        step = max(1, -(-len(inner) // (most - 1)))
        return sorted([*inner[::step], self.now], key=lambda p: p.value)


def curves(
    edges: Sequence[float],
    kept: Sequence[float],
    alone: Sequence[float],
    low: float | None,
    high: float | None,
    is_integer: bool,
) -> list[Curve]:
    """The curve of each side of the bounds on a measure.

    kept, alone: pairs of each bin that are kept, and that this measure alone drops for its value;
    bin i is [edges[i], edges[i + 1]). low, high: the bounds, None for an open side, or one that is
    not to be moved. A place of `high` is the greatest value that is kept: of integers the last
    below the edge.
    """
    total = sum(kept)
    found = []
    if low is not None:
        # What lies under the bound was dropped by it; over it, by the other side.
        gained = [a if e <= low else 0.0 for a, e in zip(alone, edges, strict=False)]
        places = [
            Place(
                math.ceil(edge) if is_integer else edge,
                sum(k + g for k, g in zip(kept[i:], gained[i:], strict=True)),
            )
            for i, edge in enumerate(edges[:-1])
        ]
        found.append(Curve("low", Place(low, total), tuple(places)))
    if high is not None:
        gained = [a if e > high else 0.0 for a, e in zip(alone, edges[1:], strict=True)]
        places = [
            Place(
                math.ceil(edges[i]) - 1 if is_integer else edges[i],
                sum(k + g for k, g in zip(kept[:i], gained[:i], strict=True)),
            )
            for i in range(1, len(edges))
        ]
        found.append(Curve("high", Place(high, total), tuple(places)))
    return found
