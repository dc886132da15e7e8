"""Stored vectors: what is packed comes back, from slices too."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.vectors import pack, similarity, unpack


def unit(n: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(1, 20), st.integers(1, 70), st.data())
def test_slices_of_packed_vectors_unpack_to_their_rows(n, width, data):
    vectors = unit(n, width, n)
    start = data.draw(st.integers(0, n - 1))
    length = data.draw(st.integers(1, n - start))
    column = pack(vectors).slice(start, length)
    assert column.to_pylist()[0] == vectors[start].astype("<f2").tobytes()
    expected = vectors.astype(np.float16)[start : start + length]
    assert np.array_equal(unpack(column), expected.astype(np.float32))
    assert np.array_equal(unpack(column.cast(pa.large_binary())), expected.astype(np.float32))


def test_similarity_is_the_cosine_of_each_row():
    a, b = unit(50, 64, 1), unit(50, 64, 2)
    assert np.allclose(similarity(pack(a), pack(b)), (a * b).sum(1), atol=1e-3)
    same = similarity(pack(a), pack(a))
    assert same.dtype == np.float32 and same.max() <= 1 and same.min() > 0.999


def test_no_rows_give_no_similarities():
    empty = pa.array([], pa.binary())
    assert similarity(empty, empty).shape == (0,)


@pytest.mark.parametrize("values", [[b"abcd", b"ab"], [b"abcd", None]])
def test_columns_that_are_not_vectors_are_refused(values):
    with pytest.raises(ValueError, match="lengths"):
        unpack(pa.array(values, pa.binary()))
