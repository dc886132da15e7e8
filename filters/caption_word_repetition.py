"""Captions that repeat words, or runs of words."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionWordRepetition(Filter):
    """Share of runs of `words` words that occur more than once, at most `max_ratio`; and share of
    words that stand in the caption before, at most `max_repeated_words` (off unless set).

    Lists of keywords name the same thing again and again. Function words count, so that "a dog on
    a beach" repeats one word of five. A caption of fewer words has the share 0. Words are those of
    scripts with spaces; of Korean, eojeols. For Chinese, Japanese and Thai `caption_repetition`
    says more.

    Source: data-juicer, word_repetition_filter: runs of 10, at most 0.5; OBELICS
    (arXiv 2306.16527): runs of 5, at most 0.1 for paragraphs; Conceptual 12M (arXiv 2102.08981),
    section 2: at most 0.2 of the words of a caption repeated.
    """

    words: int = 10
    max_ratio: float = 0.5
    max_repeated_words: float | None = None

    reads = ("caption",)
    measures = (
        column("caption_word_repetition_ratio", pa.float64(), "runs of words that recur, 0 to 1"),
        column("caption_repeated_words_ratio", pa.float64(), "words that stand before, 0 to 1"),
    )
    bound_settings = ("max_ratio", "max_repeated_words")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words < 1:
            raise ValueError(f"words = {self.words} is under 1")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.repetition_kernels import repeated_words

        tokens = Codepoints.of(batch.column("caption")).tokens
        shares, again = np.empty(batch.num_rows), np.empty(batch.num_rows)
        repeated_words(tokens.hashes, tokens.ends, self.words, shares, again)
        return [pa.array(shares), pa.array(again)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("caption_word_repetition_ratio", high=self.max_ratio)]
        if self.max_repeated_words is not None:
            bounds.append(Bound("caption_repeated_words_ratio", high=self.max_repeated_words))
        return tuple(bounds)
