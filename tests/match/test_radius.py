"""Chance neighbours and the radius that is refused."""

from itertools import combinations

import pytest

from pipeline.core.errors import ConfigError
from pipeline.match import radius as radius_module
from pipeline.match.radius import random_neighbours, refuse_unsafe


def test_counts_balanced_words_by_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 8 bits every balanced word can be listed."""
    monkeypatch.setattr(radius_module, "HASH_BITS", 8)
    words = [sum(1 << b for b in ones) for ones in combinations(range(8), 4)]
    for r in range(9):
        near = sum((words[0] ^ word).bit_count() <= r for word in words)
        assert random_neighbours(1001, r) == pytest.approx(1000 * near / len(words))


@pytest.mark.parametrize(
    ("hashes", "radius", "expected"),
    [(10**10, 2, 5.6e-6), (10**10, 4, 1.35e-3), (10**10, 6, 0.136), (1, 6, 0), (0, 4, 0)],
)
def test_known_figures(hashes: int, radius: int, expected: float) -> None:
    assert random_neighbours(hashes, radius) == pytest.approx(expected, rel=0.01)


def test_refuses_with_number_and_largest_safe_radius() -> None:
    with pytest.raises(ConfigError, match=r"10,000,000,000 hashes 0\.136 .* safe radius is 5$"):
        refuse_unsafe(10**10, 6, 0.02, widest=6)
    with pytest.raises(ConfigError, match="no radius is safe"):
        refuse_unsafe(10**10, 6, 1e-30, widest=6)
    assert refuse_unsafe(10**10, 4, 0.02, widest=6) < 0.02
