"""Caption length in characters."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionLength(Filter):
    """Unicode characters of the caption, within [min_chars, max_chars].

    Very short captions name nothing; very long ones are whole articles in an alt attribute.

    Source: COYO-700M, README: texts of 5 characters or fewer and of more than 1000 are dropped.
    """

    min_chars: int = 6
    max_chars: int = 1000

    reads = ("caption",)
    measures = (column("caption_chars", pa.int32(), "Unicode characters", unit="characters"),)
    bound_settings = ("min_chars", "max_chars")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pc.utf8_length(pc.fill_null(batch.column("caption"), ""))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_chars", self.min_chars, self.max_chars),)
