"""Longer side of the picture."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class ImageMaxSide(Filter):
    """Longer side of the picture as published, upright, at most `max_side` pixels.

    Longer ones are maps, plans and pages stitched together, of which a small picture shows little.

    Source: OBELICS (arXiv 2306.16527): at most 20,000; data-juicer's image_shape_filter has the
    same rule without a default.
    """

    max_side: int = 20_000

    reads = ("original_width", "original_height")
    measures = (column("image_max_side", pa.int32(), "longer side", unit="pixels"),)
    bound_settings = ("max_side",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        width, height = batch.column("original_width"), batch.column("original_height")
        return [pc.max_element_wise(width, height, skip_nulls=False)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("image_max_side", high=self.max_side),)
