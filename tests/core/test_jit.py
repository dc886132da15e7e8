"""Kernels: what they may do with arrays, and that none is lost or let go of too early."""

import gc

import numpy as np
import numpy.typing as npt
import pytest
from numba.core.errors import NumbaError
from numba.core.runtime import _nrt_python, rtsys

from pipeline.core.jit import allocating_kernel, kernel

Ints = npt.NDArray[np.int64]


@kernel
def _sum(numbers: Ints) -> int:
    total = 0
    for number in numbers:
        total += number
    return total


@allocating_kernel
def _sums(count: int) -> Ints:
    """The sums of the first 0, 1, ... of some numbers, through slices of an array made here."""
    numbers = np.arange(count)
    found = np.zeros(count, np.int64)
    for i in range(count):
        found[i] = _sum(numbers[:i])
    return found


@kernel
def _makes_an_array(count: int) -> int:
    return len(np.zeros(count, np.int64))


def test_a_kernel_that_returns_an_array_is_refused_at_once() -> None:
    def first(numbers: Ints) -> Ints:
        return numbers[:1]

    def pair(numbers: Ints) -> tuple[int, Ints]:
        return 1, numbers

    for function in (first, pair):
        with pytest.raises(TypeError, match=f"{function.__name__}.*@allocating_kernel"):
            kernel(function)


def test_a_kernel_that_makes_an_array_does_not_compile() -> None:
    with pytest.raises(NumbaError, match="No implementation of function.*zeros"):
        _makes_an_array(3)


def test_arrays_live_as_long_as_they_are_held_and_no_longer() -> None:
    _nrt_python.memsys_enable_stats()
    _sums(1)
    gc.collect()
    before = rtsys.get_allocation_stats()
    found = [_sums(1000) for _ in range(50)]
    assert all(row.tolist() == [n * (n - 1) // 2 for n in range(1000)] for row in found)
    view = found[0][10:]
    del found
    assert view[0] == 45
    del view
    gc.collect()
    after = rtsys.get_allocation_stats()
    assert after.alloc - before.alloc == after.free - before.free > 0
