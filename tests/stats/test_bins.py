"""Bins cover the range, do not overlap, and suit the measure's kind."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.bins import choose


@given(
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.floats(0, 1e6).filter(lambda x: x == 0 or x > 1e-3),
)
def test_bins_cover_the_range_of_floats(low, span):
    bins = choose(low, low + span, integer=False)
    slack = 1e-6 * max(1.0, abs(low), span)
    assert bins.edges[0] <= low + slack
    assert bins.edges[-1] >= low + span - slack
    assert all(a < b for a, b in zip(bins.edges, bins.edges[1:], strict=False))
    assert 1 <= bins.count <= 100


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_bins_of_counts_are_few_and_ascend(a, b):
    low, high = sorted((a, b))
    bins = choose(float(low), float(high), integer=True)
    assert bins.edges[0] <= low
    assert bins.edges[-1] >= high * (1 - 1e-5)
    assert all(x < y for x, y in zip(bins.edges, bins.edges[1:], strict=False))
    assert bins.count <= 100


def test_scale_follows_the_span():
    assert choose(0.01, 0.45, integer=False).per_decade == 0  # a cosine stays linear
    assert choose(40, 9000, integer=True).per_decade == 10
    assert choose(0, 1, integer=True).edges == (0, 1, 2)
    assert choose(0, 5000, integer=True).edges[:2] == (0, 1)
    assert math.isclose(choose(5, 5, integer=False).edges[0], 5)
