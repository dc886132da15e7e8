"""Blurred pictures."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Sharpness(Filter):
    """Variance of the picture's Laplacian, at least `min_variance`.

    A blurred picture has a low one, and so has a smooth drawing. It grows as a picture is made
    smaller, and is measured on the stored one.

    Source: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", for the
    measure; NeMo Curator, interleaved blur filter, for 100. How many photos that drops is in
    docs/measurements.md.
    """

    min_variance: float = 100.0

    reads = ("sharpness",)
    bound_settings = ("min_variance",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixels.sharpness",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("sharpness", low=self.min_variance),)
