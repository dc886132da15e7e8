"""Pixels of the picture."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class ImageArea(Filter):
    """Width times height of the picture as published, within [min_pixels, max_pixels].

    Unlike a bound on a side it takes a long picture of enough pixels. `max_pixels` is open unless
    set.

    Source: OBELICS (arXiv 2306.16527): sides of at least 150 pixels, which is this area in a
    square. LAION-high-resolution starts at 1024 x 1024: `min_pixels = 1048576`.
    """

    min_pixels: int = 22_500
    max_pixels: int | None = None

    reads = ("original_width", "original_height")
    measures = (column("image_pixels", pa.int64(), "width times height", unit="pixels"),)
    bound_settings = ("min_pixels", "max_pixels")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        sides = (batch.column(name).cast(pa.int64()) for name in self.reads)
        return [pc.multiply(*sides)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("image_pixels", self.min_pixels, self.max_pixels),)
