"""Long captions without punctuation."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionPunctuation(Filter):
    """Punctuation marks among words and marks, at least `min_ratio`; 1 where there are fewer than
    `min_words` of both together.

    A long text without a mark is a list of keywords. Words are those of scripts with spaces; of
    Chinese, Japanese and Thai every two characters are one.

    Source: OBELICS (arXiv 2306.16527), punctuation ratio of paragraphs of 12 words and more: at
    least 0.001. It counts each mark by itself, as here.
    """

    min_ratio: float = 0.001
    min_words: int = 12

    reads = ("caption",)
    measures = (column("caption_punctuation_ratio", pa.float64(), "0 to 1; 1 for short captions"),)
    bound_settings = ("min_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        text = Codepoints.of(batch.column("caption"))
        unspaced = text.count(CharClass.HAN | CharClass.KANA | CharClass.UNSPACED)
        marks = text.count(CharClass.PUNCTUATION)
        both = marks + text.tokens.counts + unspaced // 2
        ratio = marks / np.maximum(both, 1)
        return [pa.array(np.where(both < self.min_words, 1.0, ratio))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_punctuation_ratio", low=self.min_ratio),)
