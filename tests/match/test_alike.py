"""Cosines block by block: every pair over the threshold, SemDeDup's maxima, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.match.alike import close_pairs, max_before
from tests.match.vectors import clumped, cosines, stored


def found(pairs) -> dict[tuple[int, int], float]:
    listed = [(int(a), int(b), float(s)) for p in pairs for a, b, s in zip(*p, strict=True)]
    assert len({(a, b) for a, b, _ in listed}) == len(listed), "a pair came twice"
    return {(a, b): s for a, b, s in listed}


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 25))
def test_pairs_over_the_threshold_are_those_of_a_direct_search(rows, width, seed, block):
    vectors = clumped(rows, width, seed)
    truth = cosines(vectors)
    # A threshold that pairs lie exactly on: they belong to it.
    threshold = float(np.median(truth))
    expected = {
        (a, b): truth[a, b]
        for a in range(rows)
        for b in range(a + 1, rows)
        if truth[a, b] >= threshold
    }
    assert found(close_pairs(vectors, None, threshold, block)) == expected
    left, right = vectors[: rows // 3], vectors[rows // 3 :]
    across = {(a, b - rows // 3): s for (a, b), s in expected.items() if a < rows // 3 <= b}
    assert found(close_pairs(left, right, threshold, block)) == across


def test_a_pair_at_the_threshold_is_found_where_float32_would_miss_it():
    """Float32 sums round this cosine to below its exact value."""
    rng = np.random.default_rng(3)
    vectors = stored(rng.normal(size=(400, 512)))
    truth = cosines(vectors)
    rough = vectors @ vectors.T
    a, b = np.unravel_index(np.argmax(np.triu(truth - rough, k=1)), truth.shape)
    assert rough[a, b] < truth[a, b]
    assert (a, b) in found(close_pairs(vectors, None, float(truth[a, b])))


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 25))
def test_maxima_are_those_of_a_direct_search(rows, width, seed, block):
    vectors = clumped(rows, width, seed)
    truth = np.where(np.tri(rows, k=-1, dtype=bool), cosines(vectors), -1).max(axis=1)
    assert np.array_equal(max_before(vectors, vectors, np.arange(rows), block), truth)


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(0, 1000), st.integers(1, 25), st.data())
def test_two_parts_compared_across_give_what_the_whole_gives(rows, seed, block, data):
    vectors = clumped(rows, 16, seed)
    whole = max_before(vectors, vectors, np.arange(rows))
    is_left = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    parts = [np.flatnonzero(is_left), np.flatnonzero(~is_left)]
    best = np.full(rows, -1.0)
    for mine in parts:
        for other in parts:
            before = np.searchsorted(other, mine)
            part = max_before(vectors[mine], vectors[other], before, block)
            best[mine] = np.maximum(best[mine], part)
    assert np.array_equal(best, whole)


@pytest.mark.parametrize("copies", [3000])
def test_a_block_of_copies_alone_is_no_heavier_than_another(copies):
    """All cosines of a block are the largest: they are computed at once, not one by one."""
    one = stored(np.random.default_rng(0).normal(size=(1, 8)))
    same = np.repeat(one, copies, axis=0)
    norm = cosines(one)[0, 0]
    maxima = max_before(same, same, np.arange(copies))
    assert maxima[0] == -1 and (maxima[1:] == norm).all()
    assert sum(len(p.left) for p in close_pairs(same, None, 0.99)) == copies * (copies - 1) // 2
