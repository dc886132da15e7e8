"""Lists of words in files, and which captions hold their entries.

A list is text on any fsspec path, in UTF-8, an entry a line: a word, or several that follow each
other. Case does not matter; blank lines and lines that start with # are skipped. How an entry is
found depends on its script:

- with spaces between words, as English: as whole words. "ass" is found in "kick ass!", and neither
  in "class" nor in "assess". What stands between the words of an entry does not matter, so that
  "well known" is also "well-known".
- Korean, whose particles hang on the word: as a whole word, or, an entry of one word, with a
  particle behind it, so that 개 is found in 개가 and not in 개나리.
- without spaces, as Chinese, Japanese and Thai: anywhere in the text, as there is no telling where
  a word ends without a model. Short entries are then found inside longer words; leave them out.

`*entry*` is found anywhere, whatever its script, and so is an entry without letters and digits.

Searching costs the same for a hundred entries and for a million, but for what misses the cache.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import UNSPACED, Codepoints, class_table
from pipeline.core.errors import InputError
from pipeline.core.ids import text_id
from pipeline.core.languages import LANGUAGES, UNDETERMINED
from pipeline.core.tokens import lower_table

Table = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]

# A list of this name is for captions of every language.
ANY_LANGUAGE = "any"
_SIZE_MB = 256  # of a list; far more than any there is

# Endings of Korean nouns: case and topic particles, with the plural and the copula.
# Source: National Institute of Korean Language, "Korean Grammar 1" (2005), chapter on particles.
KOREAN_PARTICLES = (
    "은 는 이 가 을 를 의 에 에서 에게 에게서 께 께서 한테 로 으로 로서 으로서 로써 으로써 와 "
    "과 랑 이랑 하고 도 만 까지 부터 조차 마저 마다 밖에 보다 처럼 같이 이나 나 이라 라 이란 "
    "란 이라도 라도 아 야 여 들 들이 들을 들은 들의 들도 님 이다 다 인 이네 네 이야 입니다 "
    "이에요 예요 이고 고 이며 며"
).split()


@dataclass(frozen=True)
class WordList:
    """A list, ready to be searched for.

    entries: how many there are. words, particles, anywhere: tables of the hashes of entries of
    words, of Korean particles, and of entries that are found anywhere. firsts: flags of the first
    two characters of the latter, see `word_list_kernels`. most_words, most_chars: of an entry.
    """

    entries: int
    words: Table
    particles: Table
    anywhere: Table
    firsts: npt.NDArray[np.uint8]
    most_words: int
    most_chars: int

    @classmethod
    def of(cls, entries: Iterable[str]) -> "WordList":
        """From the entries themselves."""
        from pipeline.core import word_list_kernels as kernels
        from pipeline.core.hash_kernels import HashTable

        found = [entry for entry in (line.strip() for line in entries) if entry]
        starred = [len(e) > 2 and e[0] == e[-1] == "*" for e in found]
        bare = [e[1:-1] if star else e for e, star in zip(found, starred, strict=True)]
        text = Codepoints.of(pa.array(bare, pa.string()))
        is_anywhere = np.array(starred, bool) | (text.count(UNSPACED) > 0)
        is_anywhere |= text.tokens.counts == 0
        hashes, values = kernels.hash_entries(text.tokens.hashes, text.tokens.ends, is_anywhere)
        words = HashTable(hashes, values)
        firsts = np.zeros(1 << 16, np.uint8)
        hashes = kernels.hash_texts(text.values, text.ends, lower_table(), is_anywhere, firsts)
        anywhere = HashTable(hashes, np.ones(len(hashes), np.uint8))
        longest = text.tokens.counts[~is_anywhere], text.lengths[is_anywhere]
        return cls(
            len(found),
            (words.keys, words.flags),
            hash_table(KOREAN_PARTICLES),
            (anywhere.keys, anywhere.flags),
            firsts,
            *(int(sizes.max(initial=0)) for sizes in longest),
        )

    def count(
        self, text: Codepoints, asked: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(entries found, words that they cover) in each row that is asked for, int64 [rows]; 0
        in the others. An entry that is found anywhere covers a word.

        Of entries that start at the same word the longest is taken, and the search goes on behind.
        """
        from pipeline.core import word_list_kernels as kernels

        hits, covered = np.zeros(text.rows, np.int64), np.zeros(text.rows, np.int64)
        tokens = text.tokens
        kernels.find_entries(
            (text.values, class_table(), lower_table()),
            (tokens.starts, tokens.stops, tokens.hashes, tokens.ends),
            *(self.words, self.particles, self.most_words),
            *(asked, hits, covered),
        )
        if self.most_chars:
            kernels.find_anywhere(
                *(text.values, text.ends, lower_table(), self.anywhere, self.firsts),
                *(self.most_chars, asked, hits, covered),
            )
        return hits, covered


def hash_table(texts: Sequence[str]) -> Table:
    """A table of the hashes of whole texts in lower case, each with the flag 1; made once."""
    return _hash_table(tuple(texts))


@lru_cache(maxsize=16)
def _hash_table(texts: tuple[str, ...]) -> Table:
    from pipeline.core import word_list_kernels as kernels
    from pipeline.core.hash_kernels import HashTable

    text = Codepoints.of(pa.array(texts, pa.string()))
    unused = np.zeros(1 << 16, np.uint8)
    every = np.ones(text.rows, bool)
    hashes = kernels.hash_texts(text.values, text.ends, lower_table(), every, unused)
    table = HashTable(hashes, np.ones(len(hashes), np.uint8))
    return table.keys, table.flags


def check_languages(lists: Mapping[str, str], *others: str) -> None:
    """Raise ValueError when a list is for no language that there is."""
    known = {*LANGUAGES, *others}
    if unknown := sorted(set(lists) - known):
        raise ValueError(
            f"lists: {', '.join(unknown)} not known; allowed: {', '.join(sorted(known))}"
        )


def identity(paths: Mapping[str, str]) -> dict[str, str]:
    """What each list holds, as a digest of its entries. Raises InputError when one cannot be
    read."""
    return {name: text_id("\n".join(read(path))).hex() for name, path in sorted(paths.items())}


@lru_cache(maxsize=64)
def load(path: str) -> WordList:
    """The list of a file, once per process. Raises InputError when it cannot be read."""
    return WordList.of(read(path))


def read(path: str) -> list[str]:
    """The entries of a list, in order.

    Raises InputError when it cannot be read, is not UTF-8, is over 256 MB or has no entry.
    """
    try:
        with fsspec.open(path, "rb") as file:
            data = file.read((_SIZE_MB << 20) + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"word list {path} is not UTF-8: byte {error.start}") from None
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"word list {path} cannot be read: {error}") from None
    if len(data) > _SIZE_MB << 20:
        raise InputError(f"word list {path} is larger than {_SIZE_MB} MB")
    lines = (line.strip() for line in text.splitlines())
    if not (found := [line for line in lines if line and not line.startswith("#")]):
        raise InputError(f"word list {path} has no entry")
    return found


def rows_of(languages: pa.Array, language: str) -> npt.NDArray[np.bool_]:
    """The rows that a block list is for: captions of its language and of none that is known; all of
    them for the list `any`. bool [rows]"""
    if language == ANY_LANGUAGE:
        return np.ones(len(languages), bool)
    return is_language(languages, language, UNDETERMINED)


def is_language(languages: pa.Array, *wanted: str) -> npt.NDArray[np.bool_]:
    """Which languages are among the wanted ones, bool [rows]."""
    found: npt.NDArray[np.bool_] = pc.is_in(languages, pa.array(wanted)).to_numpy(
        zero_copy_only=False
    )
    return found
