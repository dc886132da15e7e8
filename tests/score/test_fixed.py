"""Fixed-point products against products in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.score import fixed

pytestmark = pytest.mark.skipif(not fixed.is_supported(), reason="no AVX2")

SIZES = st.integers(1, 70)


def case(rows: int, width: int, columns: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    # Rows of very different sizes, with values that stand out, as those of real models do.
    sizes = 10.0 ** rng.uniform(-6, 6, (rows, 1))
    left = rng.normal(size=(rows, width)) * sizes * 10.0 ** rng.integers(0, 3, (1, width))
    right = rng.normal(size=(columns, width)) * 10.0 ** rng.uniform(-3, 3, (columns, 1))
    return left.astype(np.float32), right.astype(np.float32), rng.normal(size=columns)


@settings(max_examples=40)
@given(rows=SIZES, width=SIZES, columns=SIZES, seed=st.integers(0, 2**32 - 1))
def test_products_are_off_by_a_step_of_their_rows(rows, width, columns, seed):
    left, right, bias = case(rows, width, columns, seed)
    found = fixed.pack(right, bias.astype(np.float32)).multiply(left)
    assert found.shape == (rows, columns) and found.dtype == np.float32
    exact = left.astype(np.float64) @ right.T.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    # Half a step for each value of either row, at the worst, and the rounding of float32.
    worst = lengths * (np.sqrt(width) / 32766 + 1e-6) + 1e-6
    assert (np.abs(found - (exact + bias)) <= worst).all()


def test_no_product_leaves_its_range():
    # All of a row's length in one value, in a few, in equal ones, and the same for the weights.
    width = 512
    rows = np.zeros((4, width), np.float32)
    rows[0, 3], rows[1, :2], rows[2], rows[3] = 1e30, -3e-20, 7, np.linspace(-1, 1, width)
    found = fixed.pack(rows, np.zeros(4, np.float32)).multiply(rows)
    assert np.isfinite(found[1:, 1:]).all() and not np.isnan(found).any()
    exact = rows.astype(np.float64) @ rows.T.astype(np.float64)
    lengths = np.linalg.norm(rows[1:].astype(np.float64), axis=1)
    apart = np.abs(found - exact)[1:, 1:]
    assert (apart <= 2e-4 * np.outer(lengths, lengths) + 1e-30).all()


def test_zeros_and_what_is_not_finite():
    rows = np.ones((5, 16), np.float32)
    rows[1] = 0
    rows[2, 3], rows[3, 4] = np.nan, np.inf
    weights = np.ones((3, 16), np.float32)
    weights[1] = 0
    found = fixed.pack(weights, np.full(3, 2, np.float32)).multiply(rows)
    assert np.allclose(found[[0, 4]], [18, 2, 18], atol=0.01)
    assert np.array_equal(found[1], [2, 2, 2])
    assert np.isnan(found[2:4]).all()
    assert fixed.pack(weights, np.zeros(3, np.float32)).multiply(rows[:0]).shape == (0, 3)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_row_has_the_same_result_in_any_company_and_number_of_threads(threads):
    left, right, bias = case(301, 72, 40, 5)
    whole = fixed.pack(right, bias.astype(np.float32)).multiply(left)
    shared = fixed.pack(right, bias.astype(np.float32), threads).multiply(left)
    assert np.array_equal(whole, shared)
    alone = fixed.pack(right, bias.astype(np.float32))
    for row in (0, 5, 6, 123, 300):
        assert np.array_equal(alone.multiply(left[row : row + 1])[0], whole[row])


def test_layers_take_torch_tensors_of_any_shape():
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(24, 10)
    layer = fixed.layer_maker(1)(linear.weight, linear.bias)
    x = torch.randn(3, 5, 24)
    with torch.inference_mode():
        for given_x in (x, x.transpose(0, 1), x[:, :1], x[0, 0]):
            found = layer(given_x)
            assert found.shape == (*given_x.shape[:-1], 10)
            assert torch.allclose(found, linear(given_x), atol=2e-3)
    unbiased = fixed.layer_maker(1)(linear.weight, None)
    assert torch.allclose(unbiased(x), x @ linear.weight.T, atol=2e-3)
