"""Captions without function words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa

from pipeline.core import word_lists
from pipeline.core.codepoints import Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column
from pipeline.core.word_lists import WordList

# The closed classes: determiners, pronouns, prepositions, conjunctions, auxiliaries, particles.
_ENGLISH = """
a an the this that these those each every either neither some any no all both half such what which
whose i me my mine myself you your yours yourself he him his himself she her hers herself it its
itself we us our ours ourselves they them their theirs themselves who whom whoever one ones
someone somebody something anyone anybody anything everyone everybody everything nobody nothing
about above across after against along amid among around as at before behind below beneath beside
besides between beyond by despite down during except for from in inside into like near of off on
onto opposite out outside over past per since through throughout to toward towards under
underneath until up upon via with within without and or but nor so yet if because although though
while whereas unless whether than then when where why how am is are was were be been being have
has had having do does did doing will would shall should can could may might must not n't don't
doesn't didn't isn't aren't wasn't weren't can't won't there here too very just also only more most
much many few other another own same again further once it's i'm you're we're they're that's
""".split()


@dataclass(frozen=True)
class CaptionStopWords(Filter):
    """Share of function words, at least `min_ratio`.

    Sentences have them, lists of keywords do not: "a dog on the beach" has three of five, "dog
    beach sand sea" none. That is strict on captions: half of the good English ones fail. A caption
    without words, and one in a language without a list, has the share 1.

    lists: files of such words for other languages, or in place of the list for English, which is
        built in; see `core.word_lists`. Korean marks with particles what English says with words of
        their own, so that a Korean list needs a far lower bound.

    Source: data-juicer, stopwords_filter, and OBELICS (arXiv 2306.16527), for paragraphs: at least
    0.3 of the words. The English words are the closed classes of Quirk et al., "A Comprehensive
    Grammar of the English Language" (1985), section 2.34.
    """

    lists: Mapping[str, str] = field(default_factory=dict)
    min_ratio: float = 0.3

    reads = ("caption", "caption_lang")
    measures = (column("caption_stop_words_ratio", pa.float64(), "0 to 1; 1 without a list"),)
    bound_settings = ("min_ratio",)

    def __post_init__(self) -> None:
        word_lists.check_languages(self.lists)
        super().__post_init__()

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        text = Codepoints.of(batch.column("caption"))
        words = text.tokens.counts
        ratio = np.ones(text.rows)
        for language in {"en": None, **self.lists}:
            path = self.lists.get(language)
            found = word_lists.load(path) if path else _english()
            asked = word_lists.is_language(batch.column("caption_lang"), language) & (words > 0)
            _, covered = found.count(text, asked)
            ratio[asked] = np.minimum(covered[asked] / words[asked], 1.0)
        return [pa.array(ratio)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_stop_words_ratio", low=self.min_ratio),)

    def measure_settings(self) -> dict[str, object]:
        """What the lists hold rather than their paths: a longer list is another measure."""
        return {"lists": word_lists.identity(self.lists)}


@cache
def _english() -> WordList:
    return WordList.of(_ENGLISH)
