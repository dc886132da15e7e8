"""Collages."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Collage(Filter):
    """Strength of the straightest seam across the picture, 0 to 1, at most `max_seam`.

    A caption describes one picture of a collage, or none. Horizons are told from seams, a pole from
    top to bottom may not be.

    Source: no published pipeline states a measure. Precision and recall at the default are
    measured in docs/measurements.md.
    """

    max_seam: float = 0.5

    reads = ("collage_seam",)
    bound_settings = ("max_seam",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixels.collage",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("collage_seam", high=self.max_seam),)
