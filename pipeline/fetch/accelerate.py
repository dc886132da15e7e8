"""The optional fast way for plain JPEGs: libjpeg-turbo by the simplejpeg package, straight into
arrays, and a compiled resize.

The same codec at the same scale as Pillow's, the same filter in single precision: the pixels that
are stored differ from Pillow's by one level in some of a million samples. Anything that is not
wholly in order is left to Pillow, which says why.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.core.jit import kernel

Pixels = npt.NDArray[np.uint8]
# Of each target pixel: the first source pixel it takes from, and what of that and the next ones.
Taps = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]

# What the codec's own reduction leaves to do is less than this.
MAX_RATIO = 2.0
_FEW_TAPS, _TAPS = 3, 5  # up to a ratio of _FEW_RATIO, and of MAX_RATIO
_FEW_RATIO = 1.25


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


def written(pixels: Pixels, quality: int) -> bytes:
    """The JPEG of RGB pixels, chroma at half the size, as Pillow stores it."""
    data: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")
    return data


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """RGB pixels reduced to (width, height), by MAX_RATIO at most on either side."""
    height, width, _ = pixels.shape
    if (width, height) == size:
        return pixels
    across, down = _hamming_taps(width, size[0]), _hamming_taps(height, size[1])
    out = np.empty((size[1], size[0] * 3), np.uint8)
    _resize(pixels.reshape(height, width * 3), across[0], across[1], down[0], down[1], out)
    return out.reshape(size[1], size[0], 3)


def luminance(pixels: Pixels) -> Pixels:
    """[height, width]: what Pillow's convert("L") gives, exactly."""
    height, width, _ = pixels.shape
    out = np.empty((height, width), np.uint8)
    _luminance(pixels.reshape(height, width * 3), out)
    return out


def warm_up() -> None:
    """Have the kernels compiled, or loaded, before a clock runs."""
    luminance(resized(np.zeros((12, 12, 3), np.uint8), (10, 10)))


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
    weights = np.sinc(at) * (0.54 + 0.46 * np.cos(np.pi * at))
    weights[(np.abs(at) >= 1) | (pixels >= last[:, None])] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, weights.astype(np.float32)


@kernel
def _three_taps(
    line: npt.NDArray[np.float32],
    first: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    out: npt.NDArray[np.uint8],
) -> None:
    for x in range(first.shape[0]):
        at = first[x] * 3
        a, b, c = weights[x, 0], weights[x, 1], weights[x, 2]
        for j in range(3):
            total = line[at + j] * a + line[at + 3 + j] * b + line[at + 6 + j] * c
            out[x * 3 + j] = np.uint8(np.int32(total + np.float32(0.5)))


@kernel
def _five_taps(
    line: npt.NDArray[np.float32],
    first: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    out: npt.NDArray[np.uint8],
) -> None:
    for x in range(first.shape[0]):
        at = first[x] * 3
        a, b, c = weights[x, 0], weights[x, 1], weights[x, 2]
        d, e = weights[x, 3], weights[x, 4]
        for j in range(3):
            total = line[at + j] * a + line[at + 3 + j] * b + line[at + 6 + j] * c
            total += line[at + 9 + j] * d + line[at + 12 + j] * e
            out[x * 3 + j] = np.uint8(np.int32(total + np.float32(0.5)))


@kernel
def _resize(
    source: Pixels,
    across_first: npt.NDArray[np.int64],
    across: npt.NDArray[np.float32],
    down_first: npt.NDArray[np.int64],
    down: npt.NDArray[np.float32],
    out: Pixels,
) -> None:
    """uint8 [h, w*3] to [h2, w2*3]: along rows, rounded, then along columns, rounded.

    A first index plus the number of taps never exceeds the side it counts along.
    """
    rows = np.empty((source.shape[0], out.shape[1]), np.uint8)
    line = np.empty(source.shape[1], np.float32)
    for y in range(source.shape[0]):
        row = source[y]
        for j in range(line.shape[0]):
            line[j] = row[j]
        if across.shape[1] == _FEW_TAPS:
            _three_taps(line, across_first, across, rows[y])
        else:
            _five_taps(line, across_first, across, rows[y])
    totals = np.empty(out.shape[1], np.float32)
    for y in range(out.shape[0]):
        totals[:] = np.float32(0.5)
        for k in range(down.shape[1]):
            weight = down[y, k]
            row = rows[down_first[y] + k]
            for j in range(totals.shape[0]):
                totals[j] += np.float32(row[j]) * weight
        target = out[y]
        for j in range(totals.shape[0]):
            target[j] = np.uint8(np.int32(totals[j]))


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
