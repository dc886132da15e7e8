"""Shorter side of the picture."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class ImageSize(Filter):
    """Shorter side of the picture as published, upright, at least `min_side` pixels.

    Small pictures are thumbnails, buttons and icons.

    Source: COYO-700M, README, and DataComp's basic filter (arXiv 2304.14108): at least 200.
    """

    min_side: int = 200

    reads = ("original_width", "original_height")
    measures = (column("image_min_side", pa.int32(), "shorter side", unit="pixels"),)
    bound_settings = ("min_side",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        width, height = batch.column("original_width"), batch.column("original_height")
        return [pc.min_element_wise(width, height, skip_nulls=False)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("image_min_side", low=self.min_side),)
