"""Exact ranks against sorting, where histograms, ties and infinities have their say."""

import math
import random
from typing import Any

import pyarrow as pa
import pytest

from pipeline.match import quantiles
from pipeline.match.quantiles import Ranked, ranked

pytestmark = pytest.mark.spark
LARGEST = 1.7976931348623157e308
LEAST = 5e-324


def expected(values: list[tuple[float, bytes]], k: int) -> Ranked:
    """By sorting all."""
    ordered = sorted(values)
    value, last = ordered[k - 1]
    is_last = k == len(ordered) or ordered[k][0] != value
    return Ranked(len(ordered), k, value, None if is_last else last)


def groups(seed: int) -> dict[str, list[tuple[float, bytes]]]:
    """Groups that differ in how their values lie."""
    chance = random.Random(seed)

    def of(values: list[float]) -> list[tuple[float, bytes]]:
        chance.shuffle(values)
        return [(value, chance.randbytes(16)) for value in values]

    return {
        "one": of([0.25]),
        "spread": of([chance.gauss(0.3, 0.05) for _ in range(700)]),
        "skewed": of([math.exp(chance.gauss(0, 3)) for _ in range(700)]),
        "grid": of([round(chance.gauss(0.3, 0.05), 2) for _ in range(700)]),
        "equal": of([1.5] * 500),
        "two": of([0.0] * 300 + [1.0] * 200),
        "ends": of([-math.inf, -LARGEST, 0.0, LEAST, LARGEST, math.inf] * 2),
        "infinite": of([-math.inf] * 120 + [math.inf] * 130 + [0.5, 0.75]),
        "least": of([n * LEAST for n in range(150)]),
        "large": of([LARGEST * (1 - n * 1e-15) for n in range(150)]),
        "apart": of([1e9, -1e9, *(1e-3 * n for n in range(150))]),
    }


@pytest.mark.parametrize(("seed", "share"), [(1, 0.0), (2, 0.3), (3, 0.7)])
def test_the_row_is_that_of_sorting(
    spark: Any, monkeypatch: pytest.MonkeyPatch, seed: int, share: float
) -> None:
    # So few that all the ways to find a row are gone.
    monkeypatch.setattr(quantiles, "_DRIVER_ROWS", 20)
    monkeypatch.setattr(quantiles, "_BINS", 64)
    made = groups(seed)
    rows = [(group, value, id_) for group, found in made.items() for value, id_ in found]
    random.Random(seed).shuffle(rows)
    columns = [pa.array(c, t) for c, t in zip(zip(*rows), (pa.string(), pa.float64(), pa.binary()))]
    table = pa.table(columns, names=["group", "value", "id"])

    def k_of(group: str, count: int) -> int:
        assert count == len(made[group])
        return max(1, math.ceil(share * count))

    found = ranked(spark.createDataFrame(table).repartition(3).cache(), k_of)
    assert found == {g: expected(rows, k_of(g, len(rows))) for g, rows in made.items()}


def test_ids_that_begin_alike_are_told_apart(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "_DRIVER_ROWS", 5)
    ids = [b"same in front" + n.to_bytes(3, "big") for n in range(40)]
    table = pa.table({"group": ["g"] * 40, "value": [0.5] * 40, "id": ids})
    found = ranked(spark.createDataFrame(table), lambda group, count: 17)
    assert found == {"g": Ranked(40, 17, 0.5, ids[16])}


def test_no_rows_no_groups(spark: Any) -> None:
    empty = spark.createDataFrame([], "group string, value double, id binary")
    assert ranked(empty, lambda group, count: 1) == {}
