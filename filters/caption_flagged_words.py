"""Captions with words of a block list: profanity, slurs, whatever the list holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.core import word_lists
from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionFlaggedWords(Filter):
    """Entries of `lists` that the caption holds, at most `max_words`.

    lists: a file for each language, e.g. `{ en = "en.txt", ko = "ko.txt" }`, and one for captions
        of all languages under "any". A language's list is for captions of that language and for
        those of none that is known. `core.word_lists` says what a file holds and how entries are
        found: as whole words in scripts with spaces, with particles in Korean, anywhere else.
    max_ratio: of the words that entries cover. Off unless set.

    None is shipped. Lists under open licences: LDNOOBW's "List of Dirty, Naughty, Obscene, and
    Otherwise Bad Words" (CC BY 4.0, 28 languages, Korean, Japanese and Chinese among them), the
    word lists of the packages better_profanity and profanity-filter, and google_twunter_lol.

    Source: COYO-700M, README: texts with a word of three lists are dropped, those of
    profanity_filter, better_profanity and google_twunter_lol; data-juicer, flagged_words_filter:
    at most 0.045 of the words; OBELICS (arXiv 2306.16527): at most 0.01.
    """

    lists: Mapping[str, str] = field(default_factory=dict)
    max_words: int | None = 0
    max_ratio: float | None = None

    reads = ("caption", "caption_lang")
    measures = (
        column("caption_flagged_words", pa.int32(), "entries found"),
        column("caption_flagged_ratio", pa.float64(), "words that they cover, 0 to 1"),
    )
    bound_settings = ("max_words", "max_ratio")

    def __post_init__(self) -> None:
        if not self.lists:
            raise ValueError('lists: give a file of words for a language, e.g. { en = "en.txt" }')
        word_lists.check_languages(self.lists, word_lists.ANY_LANGUAGE)
        if self.max_words is None and self.max_ratio is None:
            raise ValueError("neither max_words nor max_ratio is set")
        super().__post_init__()

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        text = Codepoints.of(batch.column("caption"))
        found, covered = np.zeros(text.rows, np.int64), np.zeros(text.rows, np.int64)
        for language, path in self.lists.items():
            asked = word_lists.rows_of(batch.column("caption_lang"), language)
            for total, more in zip(
                (found, covered), word_lists.load(path).count(text, asked), strict=True
            ):
                total += more
        # A word of Chinese or Japanese is two characters, near enough for a share.
        unspaced = text.count(CharClass.HAN | CharClass.KANA | CharClass.UNSPACED)
        words = np.maximum(text.tokens.counts + unspaced // 2, 1)
        return [pa.array(found.astype(np.int32)), pa.array(np.minimum(covered / words, 1.0))]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = []
        if self.max_words is not None:
            bounds.append(Bound("caption_flagged_words", high=self.max_words))
        if self.max_ratio is not None:
            bounds.append(Bound("caption_flagged_ratio", high=self.max_ratio))
        return tuple(bounds)

    def measure_settings(self) -> dict[str, object]:
        """What the lists hold rather than their paths: a longer list is another measure."""
        return {"lists": word_lists.identity(self.lists)}
