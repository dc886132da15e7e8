"""Counts of many measures at once, in bins: one pass over batches of rows, no row kept.

A row comes as bin numbers, four in an int64, so that a table of a hundred measures crosses a
shuffle and the border to Python as some twenty-five numbers a row.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.tables import STATS
from pipeline.stats.bins import Bins

LANES = 4  # bin numbers in a word, 16 bits each
SERIES = ("dropped", "kept")
_MOST_CATEGORIES = 200  # per figure and series: a text measure may have any number of values


def words_sql(values: Sequence[str], bins: Sequence[Bins]) -> list[str]:
    """Spark SQL of int64 words that hold the bin numbers of doubles; a missing value has the number
    behind the last bin."""
    lanes = [
        f"CAST(coalesce({b.index_sql(value)}, {b.count}) AS BIGINT)"
        for value, b in zip(values, bins, strict=True)
    ]
    words = []
    for start in range(0, len(lanes), LANES):
        shifted = [
            lane if i == 0 else f"shiftleft({lane}, {16 * i})"
            for i, lane in enumerate(lanes[start : start + LANES])
        ]
        words.append(" | ".join(shifted))
    return words


def unpack(words: npt.NDArray[np.int64], lanes: int) -> npt.NDArray[np.uint16]:
    """Bin numbers of words: int64 [rows, words] -> uint16 [rows, lanes]."""
    little = np.ascontiguousarray(words.astype("<i8", copy=False))
    return little.view("<u2").reshape(len(words), -1)[:, :lanes]


@dataclass(frozen=True)
class Counting:
    """What to count of batches of rows.

    names, bins: of the lanes, in order; a name comes once. by_language: names of lanes that are
        counted by language too, for their own figure, and not otherwise.
    categories: columns of text. grid: a column of integers, counted as they are in the figure
        'score_grid'; "" for none.
    A batch has the columns word_0, word_1, ...; is_kept; alone (int32: the lane of the measure that
    alone drops the pair, or -1); and those named here; by_language needs caption_lang.
    """

    names: tuple[str, ...]
    bins: tuple[Bins, ...]
    by_language: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    grid: str = ""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One batch of STATS with the counts of all. Buckets of lanes are bin numbers, '' where the
        value is missing; series are 'kept', 'dropped' and 'alone'; by language '<lang>:kept'."""
        counts = Counts(self.names, self.bins)
        for batch in batches:
            if batch.num_rows:
                self._add(counts, batch)
        rows = sorted(counts.rows(self.by_language))
        columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(STATS.schema)
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, STATS.schema, strict=True)],
            names=STATS.schema.names,
        )

    def _add(self, counts: "Counts", batch: pa.RecordBatch) -> None:
        is_kept = np.asarray(batch["is_kept"].to_numpy(zero_copy_only=False), bool)
        words = [batch[f"word_{i}"].to_numpy() for i in range(-(-len(self.bins) // LANES))]
        if words:
            numbers = unpack(np.stack(words, axis=1), len(self.bins))
            counts.add_numbers(numbers, is_kept, batch["alone"].to_numpy())
            for lane, name in enumerate(self.names):
                if name in self.by_language:
                    mine = numbers[:, lane].astype(np.int64)
                    counts.add_languages(name, mine, batch["caption_lang"], is_kept)
        for name in self.categories:
            counts.add_texts(name, batch[name], is_kept)
        if self.grid:
            counts.add_integers("score_grid", batch[self.grid], is_kept)


class Counts:
    """Counts of rows by bin number of each measure, and by text.

    names, bins: of the measures, in order. A number is that of a bin, or one more for no value.
    """

    def __init__(self, names: Sequence[str], bins: Sequence[Bins]) -> None:
        self._names, self._bins = names, bins
        sizes = np.array([b.count + 1 for b in bins], np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        self._counts = np.zeros((3, int(self._starts[-1])), np.int64)
        self._texts: Counter[tuple[str, str, str]] = Counter()
        self._integers: dict[tuple[str, str], tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}

    def add_numbers(
        self,
        numbers: npt.NDArray[Any],
        is_kept: npt.NDArray[np.bool_],
        alone: npt.NDArray[np.int32] | None = None,
    ) -> None:
        """Count rows. numbers: [rows, measures]; alone: the measure that alone drops a row, or -1:
        [rows]."""
        size = self._counts.shape[1]
        # One array, as bincount takes it; masks of rows would copy it once more.
        found = np.add(numbers, self._starts[:-1], dtype=np.int64)
        found += np.where(is_kept, size, 0)[:, None]
        counted = np.bincount(found.ravel(), minlength=2 * size)
        self._counts[:2] += counted.reshape(2, size)
        if alone is not None:
            rows = np.flatnonzero(alone >= 0)
            mine = self._starts[alone[rows]] + numbers[rows, alone[rows]]
            self._counts[2] += np.bincount(mine, minlength=size)

    def add_texts(self, figure: str, column: pa.Array, is_kept: npt.NDArray[np.bool_]) -> None:
        """Count rows by a column's values as text; '' for null."""
        for series, chosen in zip(SERIES, (~is_kept, is_kept), strict=True):
            for one in pc.value_counts(column.filter(pa.array(chosen))).to_pylist():
                text = "" if one["values"] is None else str(one["values"])
                self._texts[figure, series, text] += one["counts"]

    def add_integers(self, figure: str, column: pa.Array, is_kept: npt.NDArray[np.bool_]) -> None:
        """As `add_texts`, for many different integers."""
        has = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.fill_null(0).to_numpy().astype(np.int64)
        for series, chosen in zip(SERIES, (~is_kept, is_kept), strict=True):
            self._texts[figure, series, ""] += int((chosen & ~has).sum())
            found, counts = np.unique(values[chosen & has], return_counts=True)
            known, before = self._integers.get((figure, series), (found[:0], counts[:0]))
            merged, places = np.unique(np.concatenate([known, found]), return_inverse=True)
            summed = np.zeros(len(merged), np.int64)
            np.add.at(summed, places, np.concatenate([before, counts]))
            self._integers[figure, series] = (merged, summed)

    def add_languages(
        self,
        name: str,
        numbers: npt.NDArray[np.int64],
        languages: pa.Array,
        is_kept: npt.NDArray[np.bool_],
    ) -> None:
        """Count rows by language and the number of one measure, where it has a value."""
        coded = languages.fill_null("").dictionary_encode()
        size = self._bins[self._names.index(name)].count + 1
        cells = (coded.indices.to_numpy().astype(np.int64) * 2 + is_kept) * size + numbers
        for cell, rows in zip(*np.unique(cells, return_counts=True), strict=True):
            which, number = divmod(int(cell), size)
            if number < size - 1:
                language = coded.dictionary[which // 2].as_py()
                series = f"{language}:{SERIES[which % 2]}"
                self._texts[name, series, str(number)] += int(rows)

    def rows(self, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str, float]]:
        """Figure, series, bucket, rows; a bucket of a measure is the number of a bin, '' for no
        value. without: measures that were counted by language."""
        for (figure, series), (values, counts) in self._integers.items():
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                yield figure, series, str(value), float(count)
        for (figure, series, bucket), count in self._texts.items():
            if count:
                yield figure, series, bucket, float(count)
        for lane, (name, bins) in enumerate(zip(self._names, self._bins, strict=True)):
            first = int(self._starts[lane])
            for number, series in enumerate((*SERIES, "alone")):
                for i in range(bins.count + 1):
                    count = self._counts[number, first + i]
                    if count and name not in without:
                        yield name, series, "" if i == bins.count else str(i), float(count)


def most(counts: Mapping[str, float]) -> dict[str, float]:
    """The categories that are kept of a figure: the commonest, ties by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:_MOST_CATEGORIES])
