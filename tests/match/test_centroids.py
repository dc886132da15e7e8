"""Centroids and nearest clusters: exact, and the same in any company."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.match.centroids import assign, choose_clusters, train
from tests.match.vectors import clumped, stored


@settings(max_examples=30)
@given(st.integers(1, 50), st.integers(1, 40), st.integers(1, 4), st.integers(0, 1000))
def test_the_nearest_are_those_of_exact_cosines_with_ties_by_number(rows, k, probe, seed):
    vectors = clumped(rows, 12, seed)
    rng = np.random.default_rng(seed)
    # Repeated centroids: ties that float32 cannot decide.
    centroids = stored(rng.normal(size=(k, 12)))[rng.integers(0, max(k // 2, 1), k)]
    exact = vectors.astype(np.float64) @ centroids.astype(np.float64).T
    order = np.lexsort((np.broadcast_to(np.arange(k), exact.shape), -exact), axis=1)
    expected = order[:, : min(probe, k)]
    found = assign(vectors, centroids, probe)
    assert np.array_equal(found.clusters, expected)
    assert np.array_equal(found.similarity, np.take_along_axis(exact, expected, 1))


def test_many_equal_centroids_are_told_apart_by_number_alone():
    """More ties than spare places: the doubtful rows are compared with every centroid."""
    vectors = clumped(30, 16, 1)
    centroids = np.repeat(stored(np.random.default_rng(1).normal(size=(1, 16))), 50, axis=0)
    assert (assign(vectors, centroids, 2).clusters == [0, 1]).all()


def test_a_row_has_the_same_clusters_in_any_batch():
    vectors = clumped(500, 64, 2)
    centroids = train(vectors, 40, seed=0, threads=1).astype(np.float32)
    whole = assign(vectors, centroids, 2)
    for size in (1, 7, 100):
        parts = [assign(vectors[i : i + size], centroids, 2) for i in range(0, 500, size)]
        assert np.array_equal(np.concatenate([p.clusters for p in parts]), whole.clusters)
        assert np.array_equal(np.concatenate([p.similarity for p in parts]), whole.similarity)


def test_training_is_repeatable_and_finds_what_is_there():
    vectors = clumped(600, 32, 3, clumps=4, noise=0.05)
    centroids = train(vectors, 4, seed=5, threads=1)
    assert centroids.dtype == np.float16 and centroids.shape == (4, 32)
    assert np.array_equal(centroids, train(vectors, 4, seed=5, threads=1))
    assert np.allclose(np.linalg.norm(centroids.astype(float), axis=1), 1, atol=1e-2)
    nearest = assign(vectors, centroids.astype(np.float32), 1)
    assert nearest.similarity.min() > 0.9


@pytest.mark.parametrize("rows", [1, 3])
def test_there_are_never_more_centroids_than_rows(rows):
    assert train(clumped(rows, 8, 0), 10, seed=0, threads=1).shape == (rows, 8)


def test_the_rule_for_the_number_of_clusters():
    assert choose_clusters(0, 2, 10**6) == choose_clusters(1999, 2, 10**6) == 1
    assert choose_clusters(100_000, 2, 10**6) == 100  # a thousand rows each
    assert choose_clusters(10**8, 2, 10**6) == 14_142  # 2 * sqrt(10^8 / 2)
    assert choose_clusters(10**10, 2, 390_000) == 10_000  # as many as the sample can place
