"""The parts of speech of English words, by a lexicon and by endings."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core import word_lists
from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.errors import InputError
from pipeline.core.ids import text_id
from pipeline.core.tokens import lower_table

NOUN, DETERMINER, PREPOSITION, OTHER = 1, 2, 4, 8
# Of Penn Treebank tags, by how they begin. PRP$, "her", does what a determiner does.
_KINDS = {"NN": NOUN, "DT": DETERMINER, "PDT": DETERMINER, "WDT": DETERMINER, "PRP$": DETERMINER,
          "IN": PREPOSITION, "TO": PREPOSITION}  # fmt: skip
# Of words that no lexicon has; every other one is a noun, as new words are.
# Source: Brill's rules for unknown words, those of the suffixes of adjectives, adverbs and verbs.
ENDINGS = "ly ing ed ous ful less able ible ish ive ical".split()


@dataclass(frozen=True)
class Lexicon:
    """Parts of speech of words in lower case: a table of hashes, see `hash_kernels`."""

    words: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]

    def classes(self, text: Codepoints) -> npt.NDArray[np.uint8]:
        """Which of NOUN, DETERMINER, PREPOSITION and OTHER the words of each row are, together:
        uint8 [rows]."""
        from pipeline.core.part_of_speech_kernels import tag_rows

        tokens, found = text.tokens, np.empty(text.rows, np.uint8)
        endings = word_lists.hash_table(ENDINGS)
        tag_rows(
            (text.values, class_table(), lower_table()),
            (tokens.starts, tokens.stops, tokens.hashes, tokens.ends),
            *(self.words, endings, found),
        )
        return found


@lru_cache(maxsize=4)
def load(path: str) -> Lexicon:
    """The lexicon of a file: a word and its tags a line, the most frequent first; lines that start
    with ;;; are skipped. Raises InputError when it cannot be read or has no word."""
    from pipeline.core.hash_kernels import HashTable

    kinds: dict[str, int] = {}
    capitalised: dict[str, int] = {}
    for line in word_lists.read(path):
        word, _, tags = line.partition(" ")
        tag = tags.split("|")[0].split(" ")[0]
        if tag[:1].isalpha():
            # What is written in lower case says more of the word than its name or a heading.
            (kinds if word.islower() else capitalised).setdefault(word.lower(), _kind(tag))
    kinds = capitalised | kinds
    text = Codepoints.of(pa.array(list(kinds), pa.string()))
    single = text.tokens.counts == 1
    if not single.any():
        raise InputError(f"lexicon {path} has no line of a word and a tag")
    values = np.array(list(kinds.values()), np.uint8)[single]
    table = HashTable(text.tokens.hashes[text.tokens.ends[:-1][single]], values)
    return Lexicon((table.keys, table.flags))


def identity(path: str) -> str:
    """What a lexicon holds. Raises InputError when it cannot be read."""
    return text_id("\n".join(word_lists.read(path))).hex()


def _kind(tag: str) -> int:
    return _KINDS.get(tag, NOUN if tag.startswith("NN") else OTHER)
