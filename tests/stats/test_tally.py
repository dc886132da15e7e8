"""Counts of values in bins are those of the rows, however they are cut into batches."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.bins import choose
from pipeline.stats.tally import Counting, Counts

VALUES = st.floats(0, 500, width=32) | st.just(float("nan"))
# Of each lane; what is no number of a whole kind is missing.
KINDS = [pa.float64(), pa.float64(), pa.float32(), pa.float64(), pa.float64()]


@st.composite
def rows(draw: st.DrawFn) -> list[dict]:
    row = st.fixed_dictionaries(
        {
            "values": st.lists(VALUES, min_size=5, max_size=5),
            "is_kept": st.booleans(),
            "alone": st.integers(-1, 4),
            "caption_lang": st.sampled_from(["en", "ko", "und"]),
            "format": st.sampled_from(["JPEG", "PNG", None]),
            "grid": st.sampled_from([1, 2, None]),
        }
    )
    return draw(st.lists(row, max_size=40))


def as_batch(found: list[dict], lanes: int) -> pa.RecordBatch:
    columns = {
        **{f"lane_{i}": pa.array([r["values"][i] for r in found], KINDS[i]) for i in range(lanes)},
        "is_kept": pa.array([r["is_kept"] for r in found], pa.bool_()),
        "alone": pa.array([r["alone"] for r in found], pa.int32()),
        "caption_lang": pa.array([r["caption_lang"] for r in found], pa.string()),
        "format": pa.array([r["format"] for r in found], pa.string()),
        "grid": pa.array([r["grid"] for r in found], pa.int32()),
    }
    return pa.RecordBatch.from_pydict(columns)


@given(rows(), st.integers(1, 7))
def test_every_row_is_counted_once_in_its_bin(found: list[dict], size: int) -> None:
    bins = [choose(0, 500, integer=False), choose(0, 500, integer=True)] * 2
    bins.append(choose(0, 1, integer=True))
    names = ("a", "b", "c", "d", "e")
    counting = Counting(names, tuple(bins), frozenset({"b"}), ("format",), "grid")
    batches = [as_batch(found[i : i + size], len(bins)) for i in range(0, len(found), size)]
    counted = {row[:3]: row[3] for row in counting(iter(batches))}
    wanted: Counter[tuple[str, str, str]] = Counter()
    for row in found:
        series = "kept" if row["is_kept"] else "dropped"
        wanted["format", series, row["format"] or ""] += 1
        wanted["score_grid", series, str(row["grid"] or "")] += 1
        for lane, (name, bin_) in enumerate(zip(names, bins, strict=True)):
            value = row["values"][lane]
            edges = bin_.edges
            last = bin_.count - 1
            place = next((i for i in range(last) if value < edges[i + 1]), last)
            bucket = "" if np.isnan(value) else str(place)
            if name == "b":
                if bucket:
                    wanted["b", f"{row['caption_lang']}:{series}", bucket] += 1
                continue
            wanted[name, series, bucket] += 1
            if row["alone"] == lane:
                wanted[name, "alone", bucket] += 1
    assert counted == wanted


SPANS = st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.booleans())
NUMBERS = st.lists(st.floats(width=32) | st.integers(-(2**40), 2**40).map(float), max_size=30)


@given(SPANS, NUMBERS)
def test_a_value_has_the_same_bin_in_a_loop_and_in_numpy(span, values) -> None:
    low, width, integer = span
    low = math.floor(low) if integer else low
    bins = choose(low, low + (math.ceil(width) if integer else width), integer=integer)
    numbers = bins.index(np.array(values, np.float64)).tolist()
    counts = Counts(("a",), (bins,))
    counts.add_values([np.array(values, np.float64)], np.ones(len(values), bool))
    counted = {bucket: rows for _, _, bucket, rows in counts.rows()}
    assert counted == Counter("" if n == bins.count else str(n) for n in numbers)
