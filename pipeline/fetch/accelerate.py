"""The optional fast way for plain JPEGs: libjpeg-turbo by the simplejpeg package, straight into
arrays, and a compiled resize.

The same codec at the same scale as Pillow's, and the same filter in the same whole numbers: the
pixels are Pillow's, but for a sample that differs by one level now and then. Anything that is not
wholly in order is left to Pillow, which says why; and so is encoding, where simplejpeg has only the
less exact of the codec's transforms.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.core.jit import kernel

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
# Of each target pixel: the first source pixel it takes from, and what of that and the next ones.
Taps = tuple[Indices, Weights]

# What the codec's own reduction leaves to do is less than this.
MAX_RATIO = 2.0
_FEW_TAPS, _TAPS = 3, 5  # up to a ratio of _FEW_RATIO, and of MAX_RATIO
_FEW_RATIO = 1.25
# One as a whole number. Source: Pillow's Resample.c. Sums of such products are exact in float64.
_ONE = 2.0**22
# The window's constants, in single precision there.
_HAMMING = (float(np.float32(0.54)), float(np.float32(0.46)))


def read(body: bytes, scale: int) -> Pixels | None:
    """RGB [height, width, 3] of a JPEG at 1/scale (1, 2, 4 or 8) of its size, rounded up; None for
    one with any fault."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(body)
        read: Pixels = simplejpeg.decode_jpeg(
            body, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return read


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """RGB pixels reduced to (width, height), by MAX_RATIO at most on either side."""
    height, width, _ = pixels.shape
    if (width, height) == size:
        return pixels
    across, down = _hamming_taps(width, size[0]), _hamming_taps(height, size[1])
    flat = pixels.reshape(height, width * 3)
    # Rounding between the two passes makes their order count: Pillow's is rows first, but for
    # pictures that lose more than twice as much height as width.
    if height - size[1] > 2 * (width - size[0]):
        out = _across(_down(flat, down), across)
    else:
        out = _down(_across(flat, across), down)
    return out.reshape(size[1], size[0], 3)


def _across(flat: Pixels, taps: Taps) -> Pixels:
    out = np.empty((flat.shape[0], taps[0].size * 3), np.uint8)
    (_three_across if taps[1].shape[1] == _FEW_TAPS else _five_across)(flat, taps[0], taps[1], out)
    return out


def _down(flat: Pixels, taps: Taps) -> Pixels:
    out = np.empty((taps[0].size, flat.shape[1]), np.uint8)
    _columns(flat, taps[0], taps[1], out)
    return out


def luminance(pixels: Pixels) -> Pixels:
    """[height, width]: what Pillow's convert("L") gives, exactly."""
    height, width, _ = pixels.shape
    out = np.empty((height, width), np.uint8)
    _luminance(pixels.reshape(height, width * 3), out)
    return out


def warm_up() -> None:
    """Have the kernels compiled, or loaded, before a clock runs."""
    for target in ((10, 10), (6, 6)):
        luminance(resized(np.zeros((12, 12, 3), np.uint8), target))


def can_reduce(pixels: Pixels, size: tuple[int, int]) -> bool:
    """Whether `resized` takes these pixels to (width, height)."""
    sides = zip(pixels.shape[1::-1], size, strict=True)
    return all(b <= a <= MAX_RATIO * b and a >= _TAPS for a, b in sides)


@lru_cache(maxsize=256)
def _hamming_taps(length: int, target: int) -> Taps:
    """Pillow's Hamming filter from `length` pixels to `target`.

    Source: Pillow's documentation of Resampling.HAMMING, and Resample.c for where windows begin.
    """
    scale = length / target
    reach = max(scale, 1.0)
    count = _FEW_TAPS if scale <= _FEW_RATIO else _TAPS
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum(np.trunc(centres - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centres + reach + 0.5), length)
    first = np.minimum(first, length - count)
    pixels = first[:, None] + np.arange(count)
    at = (pixels - centres[:, None] + 0.5) / reach
    weights = np.sinc(at) * (_HAMMING[0] + _HAMMING[1] * np.cos(np.pi * at))
    weights[(np.abs(at) >= 1) | (pixels >= last[:, None])] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, np.floor(weights * _ONE + 0.5) / _ONE


@kernel
def _three_across(source: Pixels, first: Indices, weights: Weights, out: Pixels) -> None:
    """Along the rows of uint8 [h, w*3], three pixels for each. A first index plus the number of
    taps never exceeds the side it counts along, here and below."""
    line = np.empty(source.shape[1], np.float64)
    for y in range(source.shape[0]):
        row, target = source[y], out[y]
        for j in range(line.shape[0]):
            line[j] = row[j]
        for x in range(first.shape[0]):
            at = first[x] * 3
            a, b, c = weights[x, 0], weights[x, 1], weights[x, 2]
            for j in range(3):
                total = line[at + j] * a + line[at + 3 + j] * b + line[at + 6 + j] * c
                target[x * 3 + j] = np.uint8(np.int32(total + 0.5))


@kernel
def _five_across(source: Pixels, first: Indices, weights: Weights, out: Pixels) -> None:
    """The same with five pixels. Loops over taps would take twice as long."""
    line = np.empty(source.shape[1], np.float64)
    for y in range(source.shape[0]):
        row, target = source[y], out[y]
        for j in range(line.shape[0]):
            line[j] = row[j]
        for x in range(first.shape[0]):
            at = first[x] * 3
            a, b, c = weights[x, 0], weights[x, 1], weights[x, 2]
            d, e = weights[x, 3], weights[x, 4]
            for j in range(3):
                total = line[at + j] * a + line[at + 3 + j] * b + line[at + 6 + j] * c
                total += line[at + 9 + j] * d + line[at + 12 + j] * e
                target[x * 3 + j] = np.uint8(np.int32(total + 0.5))


@kernel
def _columns(source: Pixels, first: Indices, weights: Weights, out: Pixels) -> None:
    """Along the columns of uint8 [h, n]."""
    totals = np.empty(out.shape[1], np.int32)
    for y in range(out.shape[0]):
        totals[:] = np.int32(_ONE / 2)
        for k in range(weights.shape[1]):
            weight = np.int32(weights[y, k] * _ONE)
            row = source[first[y] + k]
            for j in range(totals.shape[0]):
                totals[j] += np.int32(row[j]) * weight
        target = out[y]
        for j in range(totals.shape[0]):
            target[j] = np.uint8(totals[j] >> np.int32(22))


@kernel
def _luminance(source: Pixels, out: Pixels) -> None:
    """ITU-R 601-2 luma in 16-bit fractions. Source: Pillow's Convert.c."""
    for y in range(out.shape[0]):
        row = source[y]
        target = out[y]
        for x in range(out.shape[1]):
            total = np.int32(row[3 * x]) * np.int32(19595)
            total += np.int32(row[3 * x + 1]) * np.int32(38470)
            total += np.int32(row[3 * x + 2]) * np.int32(7471)
            target[x] = np.uint8((total + np.int32(0x8000)) >> np.int32(16))
