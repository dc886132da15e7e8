"""Captions that repeat themselves, character by character."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionRepetition(Filter):
    """Share of character n-grams that occur more than once in the caption, at most `max_ratio`.

    Keyword stuffing repeats; descriptions hardly do. A caption shorter than `chars` has the
    share 0. Holds for every script.

    max_top_ratio: bounds the published measure: of the n-grams that occur more than once the most
        frequent alone, no more distinct ones than the square root of all distinct ones. It is made
        for pages: a caption that is one word forty times over has a third. Off unless set.

    Source: data-juicer, character_repetition_filter, for the second measure: n-grams of 10, at most
    0.5; OBELICS (arXiv 2306.16527): at most 0.1, for paragraphs. The first one is its
    word_repetition_filter's, at most 0.5, over characters: captions are short.
    """

    chars: int = 10
    max_ratio: float = 0.5
    max_top_ratio: float | None = None

    reads = ("caption",)
    measures = (
        column("caption_repetition_ratio", pa.float64(), "repeated n-grams, 0 to 1"),
        column("caption_top_repetition_ratio", pa.float64(), "the most frequent of them, 0 to 1"),
    )
    bound_settings = ("max_ratio", "max_top_ratio")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chars < 1:
            raise ValueError(f"chars = {self.chars} is under 1")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.repetition_kernels import repeated_chars

        text = Codepoints.of(batch.column("caption"))
        shares, top = np.empty(text.rows), np.empty(text.rows)
        repeated_chars(text.values, text.ends, self.chars, shares, top)
        return [pa.array(shares), pa.array(top)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("caption_repetition_ratio", high=self.max_ratio)]
        if self.max_top_ratio is not None:
            bounds.append(Bound("caption_top_repetition_ratio", high=self.max_top_ratio))
        return tuple(bounds)
