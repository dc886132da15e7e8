"""Width over height of the picture: how wide, and how tall."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class WidthToHeight(Filter):
    """Width over height, within [min_ratio, max_ratio].

    `aspect_ratio` bounds both directions alike; this one can take wide pictures and leave tall
    ones: 4 and more is a banner, under 1/4 a page strip. A picture without extent gives NaN or
    infinity, and never passes.

    Source: data-juicer, image_aspect_ratio_filter: 0.333 to 3 by default; OBELICS
    (arXiv 2306.16527): 1/2 to 2.
    """

    min_ratio: float = 0.333
    max_ratio: float = 3.0

    reads = ("original_width", "original_height")
    measures = (column("width_to_height", pa.float64(), "width over height"),)
    bound_settings = ("min_ratio", "max_ratio")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        sides = (batch.column(name).cast(pa.float64()) for name in self.reads)
        return [pc.divide(*sides)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("width_to_height", self.min_ratio, self.max_ratio),)
