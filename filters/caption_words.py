"""Caption length in words, whatever the script."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_CHARS_PER_WORD = 1.65


@dataclass(frozen=True)
class CaptionWords(Filter):
    """Words of the caption, within [min_words, max_words].

    Where words are spaced, a word is a run of characters between spaces that holds a letter or a
    digit; in Korean that is an eojeol. Chinese and Japanese have no spaces, so that a sentence
    would count as one word: their characters count 1/1.65 word each, a caption's total rounded
    up. Thai, Lao, Burmese and Khmer are counted in the same way, which is more words than they
    have: with a lower bound it is better to keep one too many.

    Source: COYO-700M, README: fewer than 3 and more than 256 words are dropped (DataComp's basic
    filter, arXiv 2304.14108, asks for more than 2 as well). 1.65 characters per word: the Peking
    University training text of the second SIGHAN word segmentation bakeoff (Emerson 2005) has
    1,826,448 characters in 1,109,947 words.
    """

    min_words: int = 3
    max_words: int = 256

    reads = ("caption",)
    measures = (column("caption_words", pa.int32(), "words; estimated for unspaced scripts"),)
    bound_settings = ("min_words", "max_words")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.text_kernels import count_words

        text = Codepoints.of(batch.column("caption"))
        words = np.empty(text.rows, np.int32)
        count_words(text.values, text.ends, class_table(), _CHARS_PER_WORD, words)
        return [pa.array(words)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_words", self.min_words, self.max_words),)
