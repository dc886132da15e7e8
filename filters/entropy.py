"""Flat pictures, by their grey values."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Entropy(Filter):
    """Entropy of the picture's grey values, 0 to 8 bits, at least `min_bits`.

    Blank pictures, plain banners and simple icons have few different grey values. Pictures of one
    colour are also dropped by `image_texture`, which needs no `score`.

    Source: CleanVision, low_information: under 3 bits (a tenth of the entropy under 0.3).
    """

    min_bits: float = 3.0

    reads = ("entropy",)
    bound_settings = ("min_bits",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixels.entropy",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("entropy", low=self.min_bits),)
