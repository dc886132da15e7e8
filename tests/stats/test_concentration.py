"""Spread over domains, against sums over the domains themselves."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.concentration import size_bins, spread

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=60)


@given(SIZES)
def test_spread_is_that_of_the_domains(sizes: list[int]) -> None:
    found = spread(Counter(sizes))
    assert found is not None
    total, n = sum(sizes), len(sizes)
    assert (found.members, found.rows, found.single) == (n, total, sizes.count(1))
    apart = sum(abs(a - b) for a in sizes for b in sizes)
    assert found.gini == pytest.approx(apart / (2 * n * total), abs=1e-9)
    largest = sorted(sizes, reverse=True)
    for k, share in found.top.items():
        assert share == pytest.approx(sum(largest[:k]) / total, abs=1e-9)
    assert found.top.keys() == {k for k in (1, 10, 100, 1000, 10_000) if k < n}
    half = next(k for k in range(1, n + 1) if 2 * sum(largest[:k]) >= total)
    assert found.half == half
    xs, ys = zip(*found.lorenz, strict=True)
    assert (xs[0], ys[0]) == (0, 0) and xs[-1] == pytest.approx(1) and ys[-1] == pytest.approx(1)
    assert all(y <= x + 1e-9 for x, y in found.lorenz) and sorted(ys) == list(ys)


@given(SIZES)
def test_ranges_of_sizes_hold_every_domain(sizes: list[int]) -> None:
    found = size_bins(Counter(sizes))
    lows = sorted(found)
    for low, (members, rows) in found.items():
        assert low / 10 ** int(math.log10(low) + 1e-9) in (1, 2, 5)
        power = 10 ** (len(str(low)) - 1)
        after = {1: 2, 2: 5, 5: 10}[low // power] * power
        inside = [s for s in sizes if low <= s < after]
        assert (members, rows) == (len(inside), sum(inside))
    assert sum(m for m, _ in found.values()) == len(sizes) and lows == list(found)


def test_nothing_has_no_spread() -> None:
    assert spread({}) is None and spread({0: 5}) is None
