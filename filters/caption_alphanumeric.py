"""Share of letters and digits in the caption."""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_ALPHANUMERIC = CharClass.LETTER | CharClass.NUMBER


@dataclass(frozen=True)
class CaptionAlphanumeric(Filter):
    """Share of the caption's characters that are letters or digits, at least `min_ratio`.

    Rows of dots, arrows and emoji are layout. Letters are those of every script, with the marks
    that Indic and South-East Asian scripts write vowels with.

    Source: data-juicer, alphanumeric_filter: at least 0.25 by default.
    """

    min_ratio: float = 0.25

    reads = ("caption",)
    measures = (column("caption_alnum_ratio", pa.float64(), "0 to 1; 0 for an empty caption"),)
    bound_settings = ("min_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pa.array(Codepoints.of(batch.column("caption")).share(_ALPHANUMERIC))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_alnum_ratio", low=self.min_ratio),)
