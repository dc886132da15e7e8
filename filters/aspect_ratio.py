"""Longer side over shorter side of the picture."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class AspectRatio(Filter):
    """Longer side over shorter side, at most `max_ratio`.

    Very long pictures are banners, dividers and page strips, and a square crop shows little of
    them. A picture without extent gives NaN or infinity, and so never passes.

    Source: COYO-700M, README, and DataComp's basic filter (arXiv 2304.14108): at most 3.
    Conceptual Captions (Sharma et al. 2018) and OBELICS (arXiv 2306.16527): at most 2; Conceptual
    12M (arXiv 2102.08981): at most 2.5.
    """

    max_ratio: float = 3.0

    reads = ("original_width", "original_height")
    measures = (column("aspect_ratio", pa.float64(), "longer side over shorter, 1 or more"),)
    bound_settings = ("max_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        width, height = batch.column("original_width"), batch.column("original_height")
        longer = pc.max_element_wise(width, height, skip_nulls=False).cast(pa.float64())
        shorter = pc.min_element_wise(width, height, skip_nulls=False).cast(pa.float64())
        return [pc.divide(longer, shorter)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("aspect_ratio", high=self.max_ratio),)
