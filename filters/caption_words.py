"""Caption length in words, whatever the script."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_CHARS_PER_WORD = 1.65
_UNSPACED = np.uint8(CharClass.HAN | CharClass.KANA | CharClass.UNSPACED)
_WORD = np.uint8(CharClass.LETTER | CharClass.NUMBER)


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
        text = Codepoints.of(batch.column("caption"))
        classes = text.classes()
        unspaced = (classes & _UNSPACED) > 0
        breaks = unspaced | ((classes & CharClass.SPACE) > 0)
        # A spaced word is counted at its first letter or digit since the last break or row start.
        wordly = ((classes & _WORD) > 0) & ~unspaced
        starts = np.zeros(len(classes), dtype=bool)
        starts[text.ends[:-1][text.lengths > 0]] = True
        token = np.cumsum(breaks | starts)
        at = np.flatnonzero(wordly)
        first = np.ones(len(at), dtype=bool)
        first[1:] = token[at[1:]] != token[at[:-1]]
        begins = np.zeros(len(classes), dtype=bool)
        begins[at[first]] = True
        unspaced_words = np.ceil(text.sums(unspaced & ((classes & _WORD) > 0)) / _CHARS_PER_WORD)
        return [pa.array((text.sums(begins) + unspaced_words).astype(np.int32))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_words", self.min_words, self.max_words),)
