"""Counts of packed bin numbers are those of the rows, however they are cut into batches."""

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.bins import Bins, choose
from pipeline.stats.tally import Counting, unpack

VALUES = st.floats(0, 500) | st.just(float("nan"))


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


def packed(found: list[dict], bins: list[Bins]) -> pa.RecordBatch:
    """As Spark hands them over: four numbers of 16 bits in an int64."""
    words = [[0] * len(found) for _ in range(2)]
    for lane, bin_ in enumerate(bins):
        numbers = bin_.index(np.array([r["values"][lane] for r in found], np.float64))
        for i, n in enumerate(numbers.tolist()):
            words[lane // 4][i] |= n << 16 * (lane % 4)
    columns = {
        "word_0": pa.array(words[0], pa.int64()),
        "word_1": pa.array(words[1], pa.int64()),
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
    batches = [packed(found[i : i + size], bins) for i in range(0, len(found), size)]
    (out,) = counting(iter(batches))
    counted = {tuple(r.values())[:3]: r["value"] for r in out.to_pylist()}
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


def test_lanes_are_unpacked_in_their_order() -> None:
    words = np.array([[1 | 2 << 16 | 65535 << 32 | 4 << 48, 5]], np.uint64).astype(np.int64)
    assert unpack(words, 5).tolist() == [[1, 2, 65535, 4, 5]]
