"""Drift: nothing moved of the same pairs, whatever the bins; what moved is told by how much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.stats.bins import choose
from pipeline.stats.drift import category, compare, number
from pipeline.stats.figures import Column
from pipeline.stats.measured import edge_label
from pipeline.stats.page import Figures

WIDTH = Column("width", "", "", "pixels", True)


def histogram(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts, _ = np.histogram(values, edges)
    return edges, counts.astype(np.float64)


def figures(values: np.ndarray, texts: dict[str, float]) -> Figures:
    bins = choose(values.min(), values.max(), integer=True)
    numbers = bins.index(values.astype(np.float64))
    rows = [("edges", "width", f"{i:03d}", edge) for i, edge in enumerate(bins.edges)]
    rows += [
        ("width", "kept", edge_label(edge), float((numbers == i).sum()))
        for i, edge in enumerate(bins.edges[:-1])
    ]
    rows += [("caption_lang", "kept", name, n) for name, n in texts.items()]
    return Figures(rows)


@given(
    st.lists(st.floats(0, 100), min_size=50, max_size=200), st.integers(2, 40), st.integers(2, 40)
)
def test_the_same_pairs_in_other_bins_have_not_moved(values: list[float], a: int, b: int) -> None:
    both = [histogram(np.array(values), np.linspace(0, 100.001, n)) for n in (a, b)]
    found = number("x", *both)
    assert found.distance == pytest.approx(0, abs=1e-12) and not found.is_moved
    assert found.wasserstein == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 2**32), st.floats(-30, 30))
def test_distance_is_that_of_the_samples_in_fine_bins(seed: int, shift: float) -> None:
    chance = np.random.default_rng(seed)
    a, b = chance.normal(50, 5, 800), chance.normal(50 + shift, 5, 800)
    edges = np.linspace(0, 110, 2201)
    found = number("x", histogram(a, edges), histogram(b, edges))
    assert found.distance == pytest.approx(stats.ks_2samp(a, b).statistic, abs=0.02)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(a, b), abs=0.1)
    assert found.before == pytest.approx(np.median(a), abs=0.1)
    assert found.is_moved == (found.distance > 0.1)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9000), min_size=1))
def test_the_same_shares_have_not_moved(counts: dict[str, int]) -> None:
    found = category("x", counts, {name: 3 * n for name, n in counts.items()})
    assert found.distance == pytest.approx(0, abs=1e-9) and not found.changes


def test_psi_and_divergence_are_those_of_the_formulas() -> None:
    found = category("x", {"en": 8000, "ko": 2000}, {"en": 5000, "ko": 5000})
    assert found.distance == pytest.approx(0.3 * np.log(1.6) + 0.3 * np.log(2.5))
    assert found.is_moved and found.changes[0] == ("en", 0.8, 0.5)
    assert found.jensen_shannon is not None and 0 < found.jensen_shannon < 1
    apart = category("x", {"en": 100}, {"ko": 100})
    assert apart.jensen_shannon == pytest.approx(1) and apart.is_moved


def test_what_chance_makes_of_few_pairs_is_no_move() -> None:
    few = category("x", {"en": 5, "ko": 3, "ja": 2}, {"en": 3, "ko": 4, "ja": 3})
    assert few.distance > 0.1 and not few.is_moved
    edges = np.arange(0.0, 11.0)
    one = number("x", histogram(np.arange(10), edges), histogram(np.arange(10) // 2, edges))
    assert one.distance > 0.1 and not one.is_moved


def test_runs_are_compared_by_what_both_have() -> None:
    chance = np.random.default_rng(1)
    wide = chance.integers(100, 2000, 3000)
    before = figures(wide, {"en": 900.0, "ko": 100.0})
    now = figures(wide + 900, {"en": 100.0, "ko": 900.0})
    found = compare(
        before, now, "older", [WIDTH, Column("gone", "", "", "", True)], ["caption_lang"]
    )
    assert [(m.name, m.kind, m.is_moved) for m in found.found] == [
        ("caption lang", "category", True), ("width", "number", True),
    ]  # fmt: skip
    told = found.to_json()
    assert told["moved"] == 2 and told["against"] == "older"
    assert told["distributions"][1]["now"] == pytest.approx(np.median(wide) + 900, rel=0.05)
    same = compare(before, before, "itself", [WIDTH], ["caption_lang"])
    assert same.moved == 0 and len(same.found) == 2
