"""Perceptual hashes of a picture, how far they can be trusted, and its fingerprint.

Both hashes come from one plane of luminance by a weighted sum along its rows and another along its
columns. Weights and sums are whole numbers, so that hashes are the same on every processor.

Sources: N. Krawetz, "Looks Like It", hackerfactor.com (2011), for the 64-bit DCT hash, in the form
of the imagehash library's `phash`; `pipeline.fetch.pdq` for the 256-bit one.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dct

from pipeline.core.ids import ID_BYTES
from pipeline.core.jit import allocating_kernel, kernel
from pipeline.fetch import pdq
from pipeline.fetch.turns import mirrored_spectra, turned_bits

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
# What samples take: of each the first pixel it takes from, and weights of that and the next ones.
Taps = tuple[Indices, Whole]

# Steps of the shape in a fingerprint: one is a tenth of the natural logarithm of width/height,
# about 10% of the ratio.
_SHAPE_STEPS = 10.0
# Luminances per side that the 64-bit hash is computed from. A smaller picture would be blown up to
# that, and icons that differ in a few pixels hash alike: of four matches among the pictures of 37
# public archives, three were different 14x12 stars.
_SAMPLE_SIDE = 32
# Larger pictures are reduced by a whole factor first, as PDQ's reference does over 512.
_MAX_SIDE_PX = 2048
# Lanczos weights as whole numbers. Source: Pillow's Resample.c, whose 8-bit results these equal.
# The absolute values of a sample's weights sum to less than two, so that sums stay under 2^31.
_LANCZOS_BITS = 22
_LANCZOS_LOBES = 3.0
# PDQ's weights sum to one.
_PDQ_ONE = 2.0**15
# Weights kept for sides of other pictures, 8 KB each.
_SIDES = 1024


@dataclass(frozen=True)
class Hashes:
    """hash64: 64 bits as a signed integer, first coefficient highest. hash256: PDQ, 32 bytes.
    texture: 0 (flat, or too small to hash) to 100. turned64, turned256: both hashes of the picture
    under each of `turns.TURNS`; None when they were not asked for."""

    hash64: int
    hash256: bytes
    texture: int
    turned64: list[int] | None = None
    turned256: list[bytes] | None = None


def hashes(picture: Image.Image, with_turned: bool = False) -> Hashes:
    """Hashes and texture of an upright picture in mode L or RGB.

    hash64 is imagehash's of the same picture bit for bit; hash256 is within 10 bits of PDQ's
    reference, whose own reduction to 512 differs. With a side over 2048, hash64 is nearly so.
    """
    return hashes_of(np.asarray(picture.convert("L")), with_turned)


def hashes_of(plane: Plane, with_turned: bool = False) -> Hashes:
    """`hashes` of a picture's luminance [height, width]."""
    side = min(plane.shape)
    if max(plane.shape) > _MAX_SIDE_PX:
        factor = math.ceil(max(plane.shape) / _MAX_SIDE_PX)
        plane = np.asarray(Image.fromarray(plane).reduce(factor))
    levels = np.array(plane, order="C")
    small, wide = _lanczos_samples(levels), _pdq_samples(levels)
    spectrum, wide_spectrum = _low_frequencies(small, 8), pdq.spectrum(wide)
    found = Hashes(
        _hash64(spectrum > pdq.median(spectrum)),
        pdq.packed(wide_spectrum > pdq.median(wide_spectrum)),
        pdq.quality(wide) if side >= _SAMPLE_SIDE else 0,
    )
    if not with_turned:
        return found
    # PDQ samples right of and below the middle. So signs alone, which give the 64-bit hashes, would
    # be 17 to 28 bits off on average.
    flipped = [levels[:, ::-1], levels[::-1], levels[::-1, ::-1]]
    wide_spectra = [pdq.spectrum(_pdq_samples(plane)) for plane in flipped]
    return replace(
        found,
        turned64=[_hash64(bits) for bits in turned_bits(mirrored_spectra(spectrum))],
        turned256=[pdq.packed(bits) for bits in turned_bits([wide_spectrum, *wide_spectra])],
    )


def _lanczos_samples(levels: Plane) -> Plane:
    """32x32 luminances as Pillow's resize gives them.

    Rounding between the two passes makes their order count: rows first, but for high pictures.
    """
    height, width = levels.shape
    if height > _SAMPLE_SIDE and height - _SAMPLE_SIDE > 2 * (width - _SAMPLE_SIDE):
        return _lanczos_pass(_lanczos_pass(np.ascontiguousarray(levels.T))).T
    return _lanczos_pass(_lanczos_pass(levels))


def _lanczos_pass(levels: Plane) -> Plane:
    """32 samples along the last axis, rounded to whole luminances; transposed."""
    first, weights = _lanczos_taps(levels.shape[1])
    out = np.empty((_SAMPLE_SIDE, levels.shape[0]), np.uint8)
    _lanczos_sums(levels, first, weights, out)
    return out


def _pdq_samples(levels: Plane) -> Floats:
    """64x64 luminances of the blurred picture."""
    height, width = levels.shape
    out = np.empty((pdq.SIDE, pdq.SIDE), np.float64)
    _pdq_sums(np.ascontiguousarray(levels), *_pdq_taps(height), *_pdq_taps(width), out)
    return out / (_PDQ_ONE * _PDQ_ONE)


@kernel
def _lanczos_sums(levels: Plane, first: Indices, weights: Whole, out: Plane) -> None:
    """Along the rows of uint8 [h, w] to uint8 [samples, h]. A first index plus the number of taps
    never exceeds the side it counts along, here and below."""
    half, bits = np.int32(1 << (_LANCZOS_BITS - 1)), np.int32(_LANCZOS_BITS)
    taps = weights.shape[1]
    for y in range(levels.shape[0]):
        for s in range(first.shape[0]):
            row, some = levels[y, first[s] : first[s] + taps], weights[s]
            total = half
            for k in range(taps):
                total = np.int32(total + np.int32(row[k]) * some[k])
            level = total >> bits
            out[s, y] = 0 if level < 0 else 255 if level > 255 else level


@allocating_kernel
def _pdq_sums(
    levels: Plane,
    down: Indices,
    down_weights: Whole,
    across: Indices,
    across_weights: Whole,
    out: Floats,
) -> None:
    """Along the columns of uint8 [h, w], then along the rows."""
    line = np.empty(levels.shape[1], np.int32)
    for y in range(out.shape[0]):
        line[:] = 0
        for k in range(down_weights.shape[1]):
            row, weight = levels[down[y] + k], down_weights[y, k]
            for x in range(line.shape[0]):
                line[x] += np.int32(row[x]) * weight
        for s in range(out.shape[1]):
            total = np.int64(0)
            for k in range(across_weights.shape[1]):
                total += np.int64(line[across[s] + k]) * np.int64(across_weights[s, k])
            out[y, s] = total


@lru_cache(maxsize=_SIDES)
def _lanczos_taps(length: int) -> Taps:
    return _taps(_lanczos(length) * 2.0**_LANCZOS_BITS)


@lru_cache(maxsize=_SIDES)
def _pdq_taps(length: int) -> Taps:
    return _taps(pdq.sampling(length) * _PDQ_ONE)


def _taps(weights: Floats) -> Taps:
    """Weights [samples, pixels] without the pixels at both ends of which a sample takes nothing."""
    whole = np.round(weights).astype(np.int32)
    length = whole.shape[1]
    taken = whole != 0
    first, last = taken.argmax(axis=1), length - taken[:, ::-1].argmax(axis=1)
    count = int((last - first).max())
    first = np.minimum(first, length - count)
    return first, np.take_along_axis(whole, first[:, None] + np.arange(count), axis=1)


def _lanczos(length: int) -> Floats:
    """[32, length]: Pillow's Lanczos filter from `length` pixels to 32, each row summing to one."""
    scale = length / _SAMPLE_SIDE
    widened = max(scale, 1.0)
    centres = (np.arange(_SAMPLE_SIDE)[:, None] + 0.5) * scale
    reach = _LANCZOS_LOBES * widened
    pixels = np.arange(length)[None, :]
    inside = (pixels >= np.trunc(centres - reach + 0.5)) & (
        pixels < np.trunc(centres + reach + 0.5)
    )
    at = (pixels - centres + 0.5) / widened
    weights = np.where(inside, np.sinc(at) * np.sinc(at / _LANCZOS_LOBES), 0.0)
    weights[np.abs(at) >= _LANCZOS_LOBES] = 0.0
    normal: Floats = weights / weights.sum(axis=1, keepdims=True)
    return normal


def _low_frequencies(pixels: Plane, side: int) -> Floats:
    """The side x side lowest DCT coefficients."""
    # The same transform as imagehash's, so that even rounding in flat pictures agrees.
    spectrum: Floats = dct(dct(pixels.astype(np.float64), axis=0), axis=1)[:side, :side]
    return spectrum


def _hash64(bits: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def fingerprint(found: Hashes, sha256: bytes, width: int, height: int, min_texture: int) -> bytes:
    """16 bytes, equal for pictures to be held the same without comparing them further.

    They name both hashes and the shape; or, where there is too little texture for hashes to mean
    anything, the received bytes themselves.
    """
    if found.texture < min_texture:
        return blake2b(b"bytes" + sha256, digest_size=ID_BYTES).digest()
    shape = round(math.log(width / height) * _SHAPE_STEPS)
    data = found.hash64.to_bytes(8, "big", signed=True) + found.hash256
    return blake2b(
        b"looks" + data + shape.to_bytes(2, "big", signed=True), digest_size=ID_BYTES
    ).digest()
