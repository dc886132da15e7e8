"""Captions of emoji."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionEmoji(Filter):
    """Share of emoji among the characters that are no spaces, at most `max_ratio`.

    Pictographs of Unicode's emoji blocks count, arrows, ticks and stars of "Miscellaneous Symbols"
    and "Dingbats" among them; joiners, skin tones and variation selectors do not.

    Source: data-juicer counts emoji among the characters of its special_characters_filter, at most
    0.25 by default.
    """

    max_ratio: float = 0.25

    reads = ("caption",)
    measures = (column("caption_emoji_ratio", pa.float64(), "0 to 1; 0 for an empty caption"),)
    bound_settings = ("max_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        text = Codepoints.of(batch.column("caption"))
        shown = text.lengths - text.count(CharClass.SPACE)
        return [pa.array(text.count(CharClass.EMOJI) / np.maximum(shown, 1))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_emoji_ratio", high=self.max_ratio),)
