"""How many tokens a caption is for BERT and for GPT-2, by a vocabulary file of theirs.

Counted without the tokens that mark a sequence's ends, as COYO-700M counts them: three words of
its captions can be three tokens of GPT-2.

Sources: google-research/bert, tokenization.py, and openai/gpt-2, encoder.py, for the rules, which
are restated here; the files are BERT's vocab.txt and GPT-2's merges.txt (also named vocab.bpe).
"""

import heapq
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from pipeline.core.errors import InputError

# Longer words are one unknown token. Source: tokenization.py, max_input_chars_per_word.
_MAX_WORD_CHARS = 100
# Source: encoder.py. Contractions, then words, numbers and signs with the space before them.
_PIECES = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Han, as tokenization.py lists it: every character is a word.
_HAN = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """BERT's tokens: words and signs, and the pieces of words that are not in the vocabulary.

    Text is lower-cased and loses its accents unless the vocabulary has capital letters.
    """

    def __init__(self, vocabulary: bytes, path: str = "vocab.txt") -> None:
        """vocabulary: content of vocab.txt, a token a line. Raises InputError when it is not."""
        self._known = frozenset(_lines(vocabulary, path))
        if "[UNK]" not in self._known:
            raise InputError(f"{path} is no vocabulary of BERT's: it has no line [UNK]")
        self._is_cased = "A" in self._known
        self._count_word = lru_cache(maxsize=1 << 16)(self._pieces)

    def count(self, text: str) -> int:
        """Tokens of a text, 0 or more."""
        return sum(self._count_word(word) for word in self._words(text))

    def _words(self, text: str) -> list[str]:
        spaced = "".join(map(_cleaned, text))
        if not self._is_cased:
            decomposed = unicodedata.normalize("NFD", spaced.lower())
            spaced = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
        return "".join(f" {c} " if _is_sign(c) else c for c in spaced).split()

    def _pieces(self, word: str) -> int:
        """Pieces of a word, the longest that is known first; 1 when no pieces make it up."""
        if len(word) > _MAX_WORD_CHARS:
            return 1
        start, pieces = 0, 0
        while start < len(word):
            stop = len(word)
            before = "##" if start else ""
            while stop > start and before + word[start:stop] not in self._known:
                stop -= 1
            if stop == start:
                return 1
            start, pieces = stop, pieces + 1
        return pieces


class BytePairs:
    """GPT-2's tokens: bytes of words, merged pair by pair in the order of a list."""

    def __init__(self, merges: bytes, path: str = "merges.txt") -> None:
        """merges: content of merges.txt. Raises InputError when it is not that."""
        import regex

        lines = [line for line in _lines(merges, path) if not line.startswith("#version")]
        if not lines or any(line.count(" ") != 1 for line in lines):
            raise InputError(f"{path} is no list of GPT-2's merges: a line is not two symbols")
        self._ranks: dict[tuple[str, str], int] = {}
        for rank, line in enumerate(lines):
            first, _, second = line.partition(" ")
            self._ranks[first, second] = rank
        self._split = regex.compile(_PIECES).findall
        self._symbols = _byte_symbols()
        self._count_piece = lru_cache(maxsize=1 << 16)(self._merged)

    def count(self, text: str) -> int:
        """Tokens of a text, 0 or more."""
        return sum(self._count_piece(piece) for piece in self._split(text))

    def _merged(self, piece: str) -> int:
        symbols = [self._symbols[byte] for byte in piece.encode("utf-8", "surrogatepass")]
        return len(merge(symbols, self._ranks))


def merge(symbols: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Join neighbouring symbols, the pair of the least rank first, until none has a rank.

    Time: n log n, so that a page without a space is no trap. `ranks` must be as they are learned: a
    pair comes after those that its symbols were joined by.
    """
    parts: list[str] = symbols.copy()
    following = list(range(1, len(parts) + 1))
    before = list(range(-1, len(parts) - 1))
    waiting: list[tuple[int, int, str, str]] = []

    def offer(left: int) -> None:
        right = following[left]
        if right < len(parts):
            rank = ranks.get((parts[left], parts[right]))
            if rank is not None:
                heapq.heappush(waiting, (rank, left, parts[left], parts[right]))

    for left in range(len(parts)):
        offer(left)
    while waiting:
        _, left, first, second = heapq.heappop(waiting)
        right = following[left]
        # One of the two may have been joined to another since.
        if parts[left] != first or right >= len(parts) or parts[right] != second:
            continue
        parts[left], parts[right] = first + second, ""
        following[left] = following[right]
        if following[right] < len(parts):
            before[following[right]] = left
        if before[left] >= 0:
            offer(before[left])
        offer(left)
    return [part for part in parts if part]


def _byte_symbols() -> list[str]:
    """A visible character for each byte: itself where it has one, else one from 256 on."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _lines(data: bytes, path: str) -> list[str]:
    """Lines that are not empty; only a line feed ends one, with or without a carriage return."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None
    return [line for line in (line.rstrip("\r") for line in lines) if line]


def _cleaned(char: str) -> str:
    """White space as a space, Han apart, and nothing of control characters."""
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    if category in ("Cc", "Cf") or ord(char) in (0, 0xFFFD):
        return ""
    if any(low <= ord(char) <= high for low, high in _HAN):
        return f" {char} "
    return char


def _is_sign(char: str) -> bool:
    """Punctuation; of ASCII all that is neither letter, digit nor space."""
    if ord(char) < 128:
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")
