"""English captions without a noun, a determiner or a preposition."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core import part_of_speech, word_lists
from pipeline.core.codepoints import Codepoints
from pipeline.core.errors import InputError
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionPartsOfSpeech(Filter):
    """Whether an English caption has a noun, and where asked for a determiner and a preposition.

    A caption without a noun names nothing: "click here now", "very nice". A word has the part of
    speech it most often has, or that its ending says; no sentence is parsed, so that a word between
    noun and verb ("walk") counts as one of them always. Captions in other languages, and those in
    none that is known, have all three.

    noun, determiner, preposition: which of them a kept caption has.
    lexicon: a file of a word and its Penn Treebank tags a line, as Brill's tagger has it. Without
        it that of the package textblob is used.

    Raises InputError when there is neither, naming the package.

    Source: COYO-700M, README: texts without a noun are dropped. Conceptual Captions (Sharma et al.
    2018), section 3: those without a determiner, a noun or a preposition; Conceptual 12M
    (arXiv 2102.08981), section 2: without a noun or a determiner. Brill 1992, "A simple rule-based
    part of speech tagger", for the first of its two steps, which is what is done here: it tags some
    92% of words as the whole of it does 95%.
    """

    noun: bool = True
    determiner: bool = False
    preposition: bool = False
    lexicon: str | None = None

    reads = ("caption", "caption_lang")
    measures = (
        column("has_noun", pa.int8(), "1: it has one, or is not in English"),
        column("has_determiner", pa.int8(), "likewise"),
        column("has_preposition", pa.int8(), "likewise"),
    )
    bound_settings = ("noun", "determiner", "preposition")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        text = Codepoints.of(batch.column("caption"))
        tagged = part_of_speech.load(_lexicon(self.lexicon)).classes(text)
        other = ~word_lists.is_language(batch.column("caption_lang"), "en")
        kinds = (part_of_speech.NOUN, part_of_speech.DETERMINER, part_of_speech.PREPOSITION)
        return [pa.array((other | ((tagged & kind) > 0)).astype(np.int8)) for kind in kinds]

    def bounds(self) -> tuple[Bound, ...]:
        asked = {"noun": self.noun, "determiner": self.determiner, "preposition": self.preposition}
        return tuple(Bound(f"has_{kind}", low=1) for kind, is_asked in asked.items() if is_asked)

    def measure_settings(self) -> dict[str, object]:
        """What the lexicon holds rather than its path: another lexicon is another measure."""
        return {"lexicon": part_of_speech.identity(_lexicon(self.lexicon))}


def _lexicon(path: str | None) -> str:
    """Where the lexicon is. Raises InputError when there is none."""
    if path:
        return path
    spec = importlib.util.find_spec("textblob")
    file = Path(spec.origin).parent / "en" / "en-lexicon.txt" if spec and spec.origin else None
    if file is None or not file.exists():
        raise InputError(
            "[filters.caption_parts_of_speech] needs a lexicon of English: "
            "pip install textblob (MIT), or set lexicon to a file of 'word TAG' lines"
        )
    return str(file)
