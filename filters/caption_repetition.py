"""Captions that repeat themselves."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.codepoints import Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

# Odd multiplier of a polynomial hash modulo 2^64. Source: Knuth's MMIX generator.
_MULTIPLIER = np.uint64(6364136223846793005)


@dataclass(frozen=True)
class CaptionRepetition(Filter):
    """Share of character n-grams that occur more than once in the caption, at most `max_ratio`.

    Keyword stuffing repeats; descriptions hardly do. A caption shorter than `chars` has the
    share 0.

    Source: data-juicer, word_repetition_filter: the same share over runs of 10 words, at most 0.5;
    here over runs of 10 characters, because alt texts are short and not all scripts space words.
    """

    chars: int = 10
    max_ratio: float = 0.5

    reads = ("caption",)
    measures = (column("caption_repetition_ratio", pa.float64(), "0 to 1"),)
    bound_settings = ("max_ratio",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chars < 1:
            raise ValueError(f"chars = {self.chars} is under 1")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pa.array(_repetition(Codepoints.of(batch.column("caption")), self.chars))]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_repetition_ratio", high=self.max_ratio),)


def _repetition(text: Codepoints, n: int) -> npt.NDArray[np.float64]:
    """The repeated share of each row, float64 [rows]."""
    ratio = np.zeros(len(text.lengths))
    if len(text.values) < n:
        return ratio
    row_of = np.repeat(np.arange(len(text.lengths)), text.lengths)
    width = len(text.values) - n + 1
    hashes = np.zeros(width, dtype=np.uint64)
    for offset in range(n):
        hashes = hashes * _MULTIPLIER + text.values[offset : offset + width]
    whole = row_of[:width] == row_of[n - 1 :]
    rows, hashes = row_of[:width][whole], hashes[whole]
    if not len(rows):
        return ratio
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    begins = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])])
    counts = np.diff(np.r_[begins, len(rows)])
    rows = rows[begins]
    size = len(ratio)
    repeated = np.bincount(rows, weights=np.where(counts > 1, counts, 0), minlength=size)
    return np.asarray(repeated / np.maximum(np.bincount(rows, weights=counts, minlength=size), 1))
