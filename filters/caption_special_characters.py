"""Share of punctuation, digits, spaces and symbols in the caption."""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_SPECIAL = CharClass.NUMBER | CharClass.SPACE | CharClass.SYMBOL


@dataclass(frozen=True)
class CaptionSpecialCharacters(Filter):
    """Share of the caption's characters that are no letters, at most `max_ratio`.

    Part numbers, prices, dates and tables name things without describing them. Spaces count, as
    in the source; they are about a sixth of English text. The source lists characters; here the
    Unicode categories N, P, S and Z decide, which holds for every script.

    Source: data-juicer, special_characters_filter: at most 0.25 by default.
    """

    max_ratio: float = 0.25

    reads = ("caption",)
    measures = (column("caption_special_ratio", pa.float64(), "0 to 1; 0 for an empty caption"),)
    bound_settings = ("max_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pa.array(Codepoints.of(batch.column("caption")).share(_SPECIAL))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_special_ratio", high=self.max_ratio),)
