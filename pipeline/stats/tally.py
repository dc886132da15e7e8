"""Counts of many measures at once, in bins: one pass over batches of rows, no row kept.

A row comes as the values of its measures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stats.bins import Bins

Row = tuple[str, str, str, float]
SERIES = ("dropped", "kept")
_MOST_CATEGORIES = 200  # per figure and series: a text measure may have any number of values


@dataclass(frozen=True)
class Counting:
    """What to count of batches of rows.

    names, bins: of the lanes, in order; a name comes once. by_language: names of lanes that are
        counted by language too, for their own figure, and not otherwise.
    categories: columns of text. grid: a column of integers, counted as they are in the figure
        'score_grid'; "" for none.
    A batch has the columns lane_0, lane_1, ... (numbers); is_kept; alone (int32: the lane of the
    measure that alone drops the pair, or -1); and those named here; by_language needs caption_lang.
    """

    names: tuple[str, ...]
    bins: tuple[Bins, ...]
    by_language: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    grid: str = ""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> list[Row]:
        """Figure, series, bucket and rows of all batches together, sorted. Buckets of lanes are bin
        numbers, '' where the value is missing; series are 'kept', 'dropped' and 'alone'; by
        language '<lang>:kept'."""
        counts = Counts(self.names, self.bins)
        for batch in batches:
            if batch.num_rows:
                self._add(counts, batch)
        return sorted(counts.rows(self.by_language))

    def _add(self, counts: "Counts", batch: pa.RecordBatch) -> None:
        is_kept = np.asarray(batch["is_kept"].to_numpy(zero_copy_only=False), bool)
        lanes = [_values(batch[f"lane_{i}"]) for i in range(len(self.bins))]
        counts.add_values(lanes, is_kept, batch["alone"].to_numpy())
        for lane, name in enumerate(self.names):
            if name in self.by_language:
                counts.add_languages(name, lanes[lane], batch["caption_lang"], is_kept)
        for name in self.categories:
            counts.add_texts(name, batch[name], is_kept)
        if self.grid:
            counts.add_integers("score_grid", batch[self.grid], is_kept)


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """Numbers of any kind; NaN for null."""
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found.astype(np.float64) if found.dtype == object else found


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

    def add_values(
        self,
        lanes: Sequence[npt.NDArray[Any]],
        is_kept: npt.NDArray[np.bool_],
        alone: npt.NDArray[np.int32] | None = None,
    ) -> None:
        """Count rows. lanes: the rows' values, of each measure, NaN for none; alone: the measure
        that alone drops a row, or -1: [rows]."""
        from pipeline.stats.tally_kernel import count_values

        mine = np.full(len(is_kept), -1, np.int32) if alone is None else alone
        for lane, (values, bins) in enumerate(zip(lanes, self._bins, strict=True)):
            of_lane = self._counts[:, self._starts[lane] : self._starts[lane + 1]]
            scale = bins.per_decade, float(bins.first), float(bins.step), bins.has_zero
            count_values(values, is_kept, mine, lane, *scale, of_lane)

    def add_texts(self, figure: str, column: pa.Array, is_kept: npt.NDArray[np.bool_]) -> None:
        """Count rows by a column's values as text; '' for null."""
        coded = column.dictionary_encode()
        names = ["" if name is None else str(name) for name in coded.dictionary.to_pylist()]
        names.append("")
        which = coded.indices.fill_null(len(names) - 1).to_numpy().astype(np.int64)
        counted = np.bincount(2 * which + is_kept)
        for cell in np.flatnonzero(counted).tolist():
            self._texts[figure, SERIES[cell % 2], names[cell // 2]] += int(counted[cell])

    def add_integers(self, figure: str, column: pa.Array, is_kept: npt.NDArray[np.bool_]) -> None:
        """As `add_texts`, for many different integers."""
        for series, chosen in zip(SERIES, (~is_kept, is_kept), strict=True):
            mine = column.filter(pa.array(chosen))
            self._texts[figure, series, ""] += mine.null_count
            counted = pc.value_counts(mine.drop_null())
            found, counts = (counted.field(i).to_numpy().astype(np.int64) for i in (0, 1))
            known, before = self._integers.get((figure, series), (found[:0], counts[:0]))
            merged, places = np.unique(np.concatenate([known, found]), return_inverse=True)
            summed = np.zeros(len(merged), np.int64)
            np.add.at(summed, places, np.concatenate([before, counts]))
            self._integers[figure, series] = (merged, summed)

    def add_languages(
        self,
        name: str,
        values: npt.NDArray[Any],
        languages: pa.Array,
        is_kept: npt.NDArray[np.bool_],
    ) -> None:
        """Count rows by language and the bin of one measure, where it has a value."""
        coded = languages.fill_null("").dictionary_encode()
        bins = self._bins[self._names.index(name)]
        size, numbers = bins.count + 1, bins.index(values.astype(np.float64))
        cells = (coded.indices.to_numpy().astype(np.int64) * 2 + is_kept) * size + numbers
        counted = np.bincount(cells)
        names = coded.dictionary.to_pylist()
        for cell in np.flatnonzero(counted).tolist():
            which, number = divmod(cell, size)
            if number < size - 1:
                series = f"{names[which // 2]}:{SERIES[which % 2]}"
                self._texts[name, series, str(number)] += int(counted[cell])

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
