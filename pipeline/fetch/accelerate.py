"""Pillow's reduction of plain pictures, compiled; and the optional codec for plain JPEGs.

The reduction is Pillow's Hamming filter in the same whole numbers and in the same order, so that
its pixels are Pillow's, for a quarter of the work: rows are filtered eight at a time, transposed,
which the processor's vector instructions can do and Pillow's loops leave them no chance to.

The codec (libjpeg-turbo by the simplejpeg package) reads straight into arrays, at the same scale as
Pillow's and with the same result. Anything that is not wholly in order is left to Pillow, which
says why; and so is encoding, where simplejpeg has only the less exact of the codec's transforms.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.core.jit import allocating_kernel, kernel

Size = tuple[int, int]
# [height, width, 4]: red, green, blue and a byte that means nothing, as Pillow holds them.
Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int32]
# Of each target pixel: the first source pixel it takes from, and what of that and the next ones,
# in units of 1 / _ONE.
Taps = tuple[Indices, Weights]

# What the codec's own reduction leaves to do is less than this.
MAX_RATIO = 2
# A window is twice the ratio wide.
_TAPS = 2 * MAX_RATIO
# Larger ones are rare, Pillow needs less memory, and does not hold them in one piece.
_MAX_PIXELS = 4_000_000
# One as a whole number. Source: Pillow's Resample.c.
_BITS = 22
_ONE = 2.0**_BITS
_HALF = 2 ** (_BITS - 1)
# The window's constants, in single precision there.
_HAMMING_A, _HAMMING_B = float(np.float32(0.54)), float(np.float32(0.46))
# Rows at once: their pixels of one column fill a vector register.
_ROWS = 8


def read(body: bytes, scale: int) -> Pixels | None:
    """A JPEG at 1/scale (1, 2, 4 or 8) of its size, rounded up; None for one with any fault."""
    import simplejpeg

    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(body)
        found: Pixels = simplejpeg.decode_jpeg(
            body, "RGBX", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return found


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of a picture of mode RGB that `can_reduce` takes, not copied."""
    # As pa.array(image) does it, which would load pandas besides: half a second, and 40 MB.
    lists = pa.Array._import_from_c_capsule(*image.__arrow_c_array__())
    flat = np.frombuffer(lists.values.buffers()[1], np.uint8)
    return flat.reshape(image.height, image.width, 4)


def image_of(pixels: Pixels) -> Image.Image:
    """A picture of mode RGB, not copied either: it is only to be read."""
    height, width, _ = pixels.shape
    samples = pa.Array.from_buffers(pa.uint8(), pixels.size, [None, pa.py_buffer(pixels)])
    lists = pa.FixedSizeListArray.from_arrays(samples, 4)
    return Image.fromarrow(lists, "RGB", (width, height))


def can_reduce(size: Size, target: Size) -> bool:
    """Whether `resized` takes pictures of one size (width, height) to another."""
    return size[0] * size[1] <= _MAX_PIXELS and all(
        b <= a <= MAX_RATIO * b and a >= _TAPS for a, b in zip(size, target, strict=True)
    )


def resized(pixels: Pixels, size: Size) -> Pixels:
    """Pixels reduced to (width, height), where `can_reduce` says so: Pillow's, exactly."""
    height, width, _ = pixels.shape
    # Rounding between the two passes makes their order count: Pillow's is rows first, but for
    # pictures that lose more than twice as much height as width.
    if height - size[1] > 2 * (width - size[0]):
        return _across(_down(pixels, size[1]), size[0])
    return _down(_across(pixels, size[0]), size[1])


def _across(pixels: Pixels, width: int) -> Pixels:
    if pixels.shape[1] == width:
        return pixels
    first, weights = _taps(pixels.shape[1], width)
    out = np.empty((pixels.shape[0], width), np.uint32)
    _filter_across(pixels.view(np.uint32)[:, :, 0], first, weights, out)
    return out[:, :, None].view(np.uint8)


def _down(pixels: Pixels, height: int) -> Pixels:
    if pixels.shape[0] == height:
        return pixels
    first, weights = _taps(pixels.shape[0], height)
    out = np.empty((height, pixels.shape[1], 4), np.uint8)
    flat = pixels.reshape(pixels.shape[0], -1)
    _filter_down(flat, first, weights, out.reshape(height, -1))
    return out


def warm_up() -> None:
    """Have the kernels compiled, or loaded, before a clock runs."""
    side = 3 * _TAPS
    for pixels in (pixels_of(Image.new("RGB", (side, side))), np.zeros((side, side, 4), np.uint8)):
        for size in ((side, 2 * _TAPS), (2 * _TAPS, side)):
            resized(pixels, size)


@lru_cache(maxsize=1024)
def _taps(length: int, target: int) -> Taps:
    """Pillow's Hamming filter from `length` pixels to `target`."""
    first, weights = np.empty(target, np.int64), np.zeros((target, _TAPS), np.int32)
    _fill_taps(length, first, weights)
    return first, weights


@allocating_kernel
def _fill_taps(length: int, first: Indices, weights: Weights) -> None:
    """Fill int64 [target] and zeroed int32 [target, _TAPS]; a first index plus the number of taps
    never exceeds the length.

    Source: Pillow's documentation of Resampling.HAMMING, and precompute_coeffs of Resample.c, in
    whose order everything is computed here: a weight that rounds otherwise changes a pixel.
    """
    target = first.shape[0]
    scale = length / target
    reach = max(scale, 1.0)
    found = np.empty(_TAPS + 2, np.float64)
    for x in range(target):
        centre = (x + 0.5) * scale
        start = max(int(centre - reach + 0.5), 0)
        count = min(min(int(centre + reach + 0.5), length) - start, found.shape[0])
        total = 0.0
        for i in range(count):
            at = abs((start + i - centre + 0.5) * (1.0 / reach))
            value = 1.0 if at == 0.0 else 0.0
            if 0.0 < at < 1.0:
                at *= math.pi
                value = math.sin(at) / at * (_HAMMING_A + _HAMMING_B * math.cos(at))
            found[i] = value
            total += value
        # What takes nothing, at the window's ends, has no place among the taps.
        skipped = 0
        while int(found[skipped] / total * _ONE + 0.5) == 0:
            skipped += 1
        first[x] = min(start + skipped, length - _TAPS)
        for i in range(skipped, count):
            place = start + i - first[x]
            if place < _TAPS:
                weights[x, place] = int(found[i] / total * _ONE + 0.5)


@allocating_kernel
def _filter_across(source: Words, first: Indices, weights: Weights, out: Words) -> None:
    """Along the rows of pixels [h, w] to [h, n]."""
    height, width = source.shape
    count = first.shape[0]
    tile, done = np.zeros((width, _ROWS), np.uint32), np.empty((count, _ROWS), np.uint32)
    tile_bytes, done_bytes = tile.view(np.uint8), done.view(np.uint8)
    for top in range(0, height, _ROWS):
        rows = min(_ROWS, height - top)
        for r in range(rows):
            row = source[top + r]
            for x in range(width):
                tile[x, r] = row[x]
        _filter_down(tile_bytes, first, weights, done_bytes)
        for r in range(rows):
            target = out[top + r]
            for x in range(count):
                target[x] = done[x, r]


@kernel
def _filter_down(source: Plane, first: Indices, weights: Weights, out: Plane) -> None:
    """Along the columns of uint8 [h, k] to [n, k]."""
    half, bits = np.int32(_HALF), np.int32(_BITS)
    for y in range(out.shape[0]):
        at = first[y]
        row_a, row_b, row_c, row_d = source[at], source[at + 1], source[at + 2], source[at + 3]
        a, b, c, d = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
        target = out[y]
        for j in range(out.shape[1]):
            total = half + np.int32(row_a[j]) * a + np.int32(row_b[j]) * b
            total += np.int32(row_c[j]) * c + np.int32(row_d[j]) * d
            target[j] = np.uint8(np.int32(total) >> bits)
