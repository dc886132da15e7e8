"""open_clip's own tokenizer, with the words it has seen kept as token ids."""

from collections.abc import Callable
from typing import Any

import numpy as np

# Some 100 MB of words; those that are frequent are soon there again.
_WORDS_KEPT = 500_000
Tokenize = Callable[[list[str]], Any]


def tokenize_with(tokenizer: Any) -> Tokenize:
    """What turns texts into the tokenizer's ids, an int64 tensor [n, context_length]: with those of
    each word kept for open_clip's own kind, as they are for any other."""
    plain = type(tokenizer).__name__ == "SimpleTokenizer" and tokenizer.reduction_fn is None
    made: Tokenize = _Words(tokenizer) if plain else tokenizer
    return made


class _Words:
    """The same ids in a fifth of the time. Not for use by two threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        self._own = tokenizer
        self._ids: dict[str, list[int]] = {}
        self._is_lower = tokenizer.clean_fn.__name__ == "_clean_lower"

    def __call__(self, texts: list[str]) -> Any:
        import torch

        length = self._own.context_length
        found = np.zeros((len(texts), length), np.int64)
        found[:, 0] = self._own.sot_token_id
        for row, text in zip(found, texts, strict=True):
            ids = self._encode(text)[: length - 2]
            row[1 : len(ids) + 1] = ids
            row[len(ids) + 1] = self._own.eot_token_id
        return torch.from_numpy(found)

    def _encode(self, text: str) -> list[int]:
        # Nothing is mended in such a text: there is no encoding to guess, and no entity.
        if self._is_lower and text.isascii() and text.isprintable() and "&" not in text:
            text = " ".join(text.split()).lower()
        else:
            text = self._own.clean_fn(text)
        if len(self._ids) > _WORDS_KEPT:
            self._forget()
        ids: list[int] = []
        for word in self._own.pat.findall(text):
            known = self._ids.get(word)
            if known is None:
                known = self._ids[word] = self._ids_of(word)
            ids += known
        return ids

    def _ids_of(self, word: str) -> list[int]:
        symbols = "".join(self._own.byte_encoder[byte] for byte in word.encode())
        return [self._own.encoder[piece] for piece in self._own.bpe(symbols).split(" ")]

    def _forget(self) -> None:
        """Its own cache too, which else keeps every word it ever saw."""
        self._ids.clear()
        special = {word: word for word in ("<start_of_text>", "<end_of_text>")}
        self._own.cache.clear()
        self._own.cache.update(special)
