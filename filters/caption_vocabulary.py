"""Captions of words that nobody uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.core import word_lists
from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionVocabulary(Filter):
    """Share of words that are in the language's vocabulary, at least `min_ratio`.

    Product codes, user names and typing errors are in none. A caption without words, and one in a
    language without a list, has the share 1. Numbers are no words here.

    lists: a file of words for each language, one a line, e.g. `{ en = "words-en.txt" }`; see
        `core.word_lists`. Korean words may have a particle behind them. Not for Chinese, Japanese
        and Thai, where words are not told apart. Good ones are the words that Wikipedia has 5 times
        or more; the package wordfreq has such lists for 40 languages.

    Source: ALT200M (LEMON, arXiv 2111.12233) keeps captions of words that English Wikipedia has 5
    times or more, as Conceptual Captions (Sharma et al. 2018) does, Conceptual 12M
    (arXiv 2102.08981) with 20: all words (min_ratio = 1). OBELICS (arXiv 2306.16527): at least 0.8
    of a paragraph's words common, which is the default.
    """

    lists: Mapping[str, str] = field(default_factory=dict)
    min_ratio: float = 0.8

    reads = ("caption", "caption_lang")
    measures = (column("caption_known_words_ratio", pa.float64(), "0 to 1; 1 without a list"),)
    bound_settings = ("min_ratio",)

    def __post_init__(self) -> None:
        if not self.lists:
            raise ValueError('lists: give a file of words for a language, e.g. { en = "en.txt" }')
        word_lists.check_languages(self.lists)
        super().__post_init__()

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.text_kernels import count_numbers

        text = Codepoints.of(batch.column("caption"))
        tokens = text.tokens
        numbers = count_numbers(
            text.values, class_table(), tokens.starts, tokens.stops, tokens.ends
        )
        words = tokens.counts - numbers
        ratio = np.ones(text.rows)
        languages = batch.column("caption_lang")
        for language, path in self.lists.items():
            asked = word_lists.is_language(languages, language) & (words > 0)
            _, known = word_lists.load(path).count(text, asked)
            ratio[asked] = np.minimum(known[asked] / words[asked], 1.0)
        return [pa.array(ratio)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_known_words_ratio", low=self.min_ratio),)

    def measure_settings(self) -> dict[str, object]:
        """What the lists hold rather than their paths: a longer list is another measure."""
        return {"lists": word_lists.identity(self.lists)}
