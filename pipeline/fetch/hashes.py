"""Perceptual hashes of a picture, how far they can be trusted, and its fingerprint.

Both hashes come from one plane of luminance by a matrix product along its rows and another along
its columns. Weights and sums are whole numbers that floating point holds exactly, so that hashes
are the same on every processor.

Sources: N. Krawetz, "Looks Like It", hackerfactor.com (2011), for the 64-bit DCT hash, in the form
of the imagehash library's `phash`; `pipeline.fetch.pdq` for the 256-bit one.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dct

from pipeline.core.ids import ID_BYTES
from pipeline.fetch import pdq
from pipeline.fetch.turns import mirrored_spectra, turned_bits

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
# What some neighbouring samples take: of pixels first to last (exclusive), [pixels, samples].
Block = tuple[int, int, Plane]

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
_LANCZOS_ONE = 2.0**22
_LANCZOS_LOBES = 3.0
_LOW_PART = 2.0**8
# PDQ's: 255 times this is under 2^24, up to which float32 holds every whole number.
_PDQ_ONE = 2.0**15


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


def hashes_of(plane: npt.NDArray[np.uint8], with_turned: bool = False) -> Hashes:
    """`hashes` of a picture's luminance [height, width]."""
    side = min(plane.shape)
    if max(plane.shape) > _MAX_SIDE_PX:
        factor = math.ceil(max(plane.shape) / _MAX_SIDE_PX)
        plane = np.asarray(Image.fromarray(plane).reduce(factor))
    levels = plane.astype(np.float32)
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
    """32x32 luminances, whole numbers, as Pillow's resize gives them.

    Rounding between the two passes makes their order count: rows first, but for high pictures.
    """
    height, width = levels.shape
    if height > _SAMPLE_SIDE and height - _SAMPLE_SIDE > 2 * (width - _SAMPLE_SIDE):
        return _lanczos_pass(_lanczos_pass(levels.T).T)
    return _lanczos_pass(_lanczos_pass(levels).T).T


def _lanczos_pass(levels: Plane) -> Plane:
    """32 samples along the last axis, rounded to whole luminances."""
    sums = _sampled(levels, _lanczos_blocks(levels.shape[1])).astype(np.float64)
    sums = sums[:, 0::2] * _LOW_PART + sums[:, 1::2]
    return np.clip(np.floor(sums / _LANCZOS_ONE + 0.5), 0.0, 255.0).astype(np.float32)


def _pdq_samples(levels: Plane) -> Floats:
    """64x64 luminances of the blurred picture."""
    rows = _sampled(levels, _pdq_blocks(levels.shape[1]))
    both = _sampled(rows.T.astype(np.float64), _pdq_blocks(levels.shape[0])).T
    return both / (_PDQ_ONE * _PDQ_ONE)


def _sampled(plane: npt.NDArray[Any], blocks: tuple[Block, ...]) -> npt.NDArray[Any]:
    """Samples along the last axis."""
    return np.concatenate([plane[:, a:b] @ weights for a, b, weights in blocks], axis=1)


@lru_cache(maxsize=64)
def _lanczos_blocks(length: int) -> tuple[Block, ...]:
    """Each sample twice: by the high part of its weights, in units of _LOW_PART, and by the rest.
    So either's sum is under 2^24 for sides up to _MAX_SIDE_PX."""
    weights = np.round(_lanczos(length) * _LANCZOS_ONE)
    high = np.round(weights / _LOW_PART)
    parts = np.stack([high, weights - high * _LOW_PART], axis=1)
    return _blocks(parts.reshape(2 * _SAMPLE_SIDE, length), 2)


@lru_cache(maxsize=64)
def _pdq_blocks(length: int) -> tuple[Block, ...]:
    return _blocks(np.round(pdq.sampling(length) * _PDQ_ONE), 4)


def _blocks(weights: Floats, count: int) -> tuple[Block, ...]:
    """Weights [samples, pixels] in blocks of samples, without the pixels that none of them takes:
    most of a dense product would be with zeros."""
    found = []
    for some in np.split(weights, count):
        taken = np.flatnonzero(some.any(axis=0))
        first, last = int(taken[0]), int(taken[-1]) + 1
        found.append((first, last, np.ascontiguousarray(some[:, first:last].T, np.float32)))
    return tuple(found)


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
