"""Intervals and paired differences against scipy's own tests."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.judge.statistics import difference, estimate

# scipy warns of values that are nearly equal.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SOME = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12)


@given(SOME, st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_is_students(values: list[float], confidence: float) -> None:
    found = estimate(values, confidence)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    if np.ptp(values) > 1e-3:
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


@given(SOME, st.randoms(use_true_random=False))
def test_paired_difference_tells_what_a_paired_t_test_tells(values: list[float], random) -> None:
    others = [value + random.gauss(0.1, 0.2) for value in values]
    found = difference(values, others)
    test = stats.ttest_rel(values, others)
    if abs(test.pvalue - 0.05) > 1e-6:
        assert (found.verdict != "not told apart") == (test.pvalue < 0.05)
    if found.verdict != "not told apart":
        assert (found.verdict == "better") == (found.mean > 0)


def test_equal_differences_have_no_width() -> None:
    found = difference([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert found.mean == pytest.approx(0.1)
    assert found.half == pytest.approx(0, abs=1e-12)
    assert found.verdict == "better"
    assert difference([0.1, 0.2], [0.1, 0.2]).verdict == "not told apart"


def test_one_seed_tells_nothing_apart() -> None:
    found = estimate([0.4])
    assert (found.mean, found.half, found.low, found.high) == (0.4, None, -math.inf, math.inf)
    assert difference([0.9], [0.1]).verdict == "not told apart"


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate([])
    with pytest.raises(ValueError):
        difference([0.1, 0.2], [0.1])
