"""Matrix products in 16-bit fixed point, for processors with AVX2 and no faster numbers.

A row of activations and a row of weights are each scaled to a length of 2^15 and rounded to int16.
By Cauchy and Schwarz no dot product of two such rows, nor any part of one, can leave int32, so the
sums are exact whatever the order: a result depends on its own row alone, not on the batch. A value
is off by 2^-15 / sqrt(12) of its row's length on average, whatever stands out in the row: that is
2e-4 of a typical product of 768 random values, where bfloat16 is off by 1.6e-3. One instruction
(vpmaddwd) does 16 products and 8 sums where float32 does 8 of each.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pipeline.core.jit import allocating_kernel

# A tile's sums fill 12 of the 16 registers; two more hold weights, one activations, one products.
_ROWS, _VECTORS = 6, 2
_COLUMNS = 8 * _VECTORS
# Rows of activations that stay in the second-level cache while all weights pass by.
_ROWS_KEPT = 10 * _ROWS
# Below 2^15 by what rounding may add to one value.
_LENGTH = 32766.0
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_SUMS, _SHORTS = ir.VectorType(_I32, 8), ir.VectorType(ir.IntType(16), 16)


def is_supported() -> bool:
    """Whether this processor has the instructions."""
    return bool(binding.get_host_cpu_features().get("avx2"))


@intrinsic  # type: ignore[untyped-decorator]
def _tile(typing: Any, left: Any, l_at: Any, right: Any, r_at: Any, pairs: Any, sums: Any) -> Any:
    """sums[6, 16] of the products of six rows of 2 * pairs values from left[l_at] on and 16 columns
    packed from right[r_at] on: a pair of values of each column after the other. No index is
    checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(which: int, at: Any, kind: Any) -> Any:
            array = context.make_array(signature.args[which])(context, builder, arguments[which])
            return builder.bitcast(builder.gep(array.data, [at]), kind.as_pointer())

        multiply = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_SUMS, [_SHORTS, _SHORTS]), "llvm.x86.avx2.pmadd.wd"
        )
        begin = pointer(0, arguments[1], _I32), pointer(2, arguments[3], _SHORTS)
        before, loop, done = (
            builder.block,
            builder.append_basic_block("pairs"),
            builder.append_basic_block("done"),
        )
        rows = [builder.gep(begin[0], [builder.mul(arguments[4], _I64(i))]) for i in range(_ROWS)]
        builder.branch(loop)
        builder.position_at_end(loop)
        carried = [builder.phi(kind) for kind in (_I64, begin[1].type)]
        totals = [builder.phi(_SUMS) for _ in range(_ROWS * _VECTORS)]
        zero = ir.Constant(_SUMS, [0] * 8)
        for phi, value in zip(carried, (_I64(0), begin[1]), strict=True):
            phi.add_incoming(value, before)
        index, columns = carried
        loaded = []
        for vector in range(_VECTORS):
            loaded.append(builder.load(builder.gep(columns, [_I64(vector)])))
            loaded[-1].align = 2
        added = []
        for i in range(_ROWS):
            pair = builder.load(builder.gep(rows[i], [index]))
            pair.align = 2
            spread = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), pair, _I32(0))
            spread = builder.shuffle_vector(spread, spread, zero)
            spread = builder.bitcast(spread, _SHORTS)
            for vector in range(_VECTORS):
                product = builder.call(multiply, [spread, loaded[vector]])
                added.append(builder.add(totals[i * _VECTORS + vector], product))
        for total, new in zip(totals, added, strict=True):
            total.add_incoming(zero, before)
            total.add_incoming(new, loop)
        stepped = (
            builder.add(index, _I64(1)),
            builder.gep(columns, [_I64(_VECTORS)]),
        )
        for phi, value in zip(carried, stepped, strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", stepped[0], arguments[4]), loop, done)
        builder.position_at_end(done)
        out = pointer(5, _I64(0), _SUMS)
        for i, total in enumerate(added):
            builder.store(total, builder.gep(out, [_I64(i)])).align = 4
        return context.get_dummy_value()

    at = types.int64
    return types.void(left, at, right, at, at, sums), generate


@allocating_kernel
def _quantise(
    rows: NDArray[np.float32], rounded: NDArray[np.int16], scales: NDArray[np.float32]
) -> None:
    """rows [n, width] as int16, and what a step of each is worth. width: a multiple of 8. A row
    that is not finite has NaN for that, one shorter than 1e-30 counts as zeros."""
    count, width = rows.shape
    parts = np.empty(8, np.float32)
    for i in range(count):
        parts[:] = 0
        for j in range(0, width, 8):
            for t in range(8):
                value = rows[i, j + t]
                parts[t] += value * value
        squared = np.float64(parts.sum())
        if not 1e-30 < squared < 1e38:  # too little or too much for float32
            squared = np.float64(0)
            for j in range(width):
                squared += np.float64(rows[i, j]) * np.float64(rows[i, j])
        length = np.sqrt(squared)
        if not 1e-30 < length < np.inf:
            scales[i] = length * 0
            rounded[i] = 0
            continue
        steps = np.float32(_LENGTH / length)
        scales[i] = np.float32(length / _LENGTH)
        for j in range(width):
            # Rounded by cutting a number above zero, as a vector unit does.
            above = np.int32(rows[i, j] * steps + np.float32(32768.5))
            rounded[i, j] = np.int16(above - np.int32(32768))


@allocating_kernel
def _multiply(
    left: NDArray[np.int16],
    left_scales: NDArray[np.float32],
    right: NDArray[np.int16],
    right_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """out [n, columns] of rows and packed columns. left: of whole tiles, flat. columns: a multiple
    of 16."""
    count, columns = out.shape
    width = len(right) // columns
    sums = np.empty(_ROWS * _COLUMNS, np.int32)
    for start in range(0, count, _ROWS_KEPT):
        for column in range(0, columns, _COLUMNS):
            for row in range(start, min(start + _ROWS_KEPT, count), _ROWS):
                _tile(left, row * width, right, column * width, width >> 1, sums)
                for r in range(min(_ROWS, count - row)):
                    scale = left_scales[row + r]
                    for c in range(_COLUMNS):
                        value = np.float32(sums[r * _COLUMNS + c])
                        value *= scale * right_scales[column + c]
                        out[row + r, column + c] = value + bias[column + c]


def _padded(length: int, to: int) -> int:
    return -(-length // to) * to


@dataclass(frozen=True)
class FixedLinear:
    """y = x W' + b of packed weights. columns: of y. threads: of one call."""

    packed: NDArray[np.int16]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]
    columns: int
    threads: int

    def multiply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [n, columns] of float32 [n, width]. A row that is not finite gives NaN."""
        width = len(self.packed) // len(self.scales)
        if rows.shape[1] < width:
            rows = np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty((len(rows), len(self.scales)), np.float32)
        step = max(_padded(-(-len(rows) // self.threads), _ROWS), _ROWS_KEPT)

        def part(start: int) -> None:
            some = rows[start : start + step]
            left = np.empty((_padded(len(some), _ROWS), width), np.int16)
            left[len(some) :] = 0
            scales = np.empty(len(some), np.float32)
            _quantise(some, left, scales)
            right = self.packed, self.scales, self.bias
            _multiply(left.reshape(-1), scales, *right, out[start : start + step])

        starts = range(0, len(rows), step)
        if len(starts) < 2:
            for start in starts:
                part(start)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(part, starts))
        return out if out.shape[1] == self.columns else out[:, : self.columns].copy()

    def __call__(self, x: Any) -> Any:
        """The same of a torch tensor [..., width], float32 on the CPU."""
        import torch

        out = self.multiply(x.detach().reshape(-1, x.shape[-1]).numpy())
        return torch.from_numpy(out).view(*x.shape[:-1], self.columns)


def layer_maker(threads: int) -> Callable[[Any, Any], FixedLinear]:
    """Makes layers of torch's weights [columns, width] and biases [columns] or None."""

    def make(weight: Any, bias: Any) -> FixedLinear:
        values = weight.detach().float().numpy()
        biases = (
            np.zeros(len(values), np.float32) if bias is None else bias.detach().float().numpy()
        )
        return pack(values, biases, threads)

    return make


def pack(weights: NDArray[np.float32], bias: NDArray[np.float32], threads: int = 1) -> FixedLinear:
    """Weights [columns, width] and bias [columns] as a layer, with zeros up to whole tiles."""
    columns, width = weights.shape
    whole = np.zeros((_padded(columns, _COLUMNS), _padded(width, 8)), np.float64)
    whole[:columns, :width] = weights
    lengths = np.linalg.norm(whole, axis=1)
    steps = np.divide(_LENGTH, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    rounded = np.rint(whole * steps[:, None]).astype(np.int16)
    tiles = rounded.reshape(len(whole) // _COLUMNS, _COLUMNS, -1, 2).transpose(0, 2, 1, 3)
    scales = (lengths / _LENGTH).astype(np.float32)
    biases = np.zeros(len(whole), np.float32)
    biases[:columns] = bias
    return FixedLinear(np.ascontiguousarray(tiles).reshape(-1), scales, biases, columns, threads)
