"""Perceptual hashes of a picture, how far they can be trusted, and its fingerprint.

Sources: N. Krawetz, "Looks Like It", hackerfactor.com (2011), for the DCT hash, in the form of the
imagehash library, whose `phash` gives the same 64 bits; Facebook ThreatExchange, PDQ (2019),
`pdqImageDomainQualityMetric`, for the figure of texture and for 16x16 low frequencies of 64x64
luminances as the wider hash.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dct

from pipeline.core.ids import ID_BYTES

# Steps of the shape in a fingerprint: one is a tenth of the natural logarithm of width/height,
# about 10% of the ratio.
_SHAPE_STEPS = 10.0
# Luminances per side that the 64-bit hash is computed from. A smaller picture would be blown up to
# that, and icons that differ in a few pixels hash alike: of four matches among the pictures of 37
# public archives, three were different 14x12 stars.
_SAMPLE_SIDE = 32


@dataclass(frozen=True)
class Hashes:
    """hash64: 64 bits as a signed integer, first coefficient highest. hash256: 32 bytes, likewise.
    texture: 0 (flat, or too small to hash) to 100."""

    hash64: int
    hash256: bytes
    texture: int


def hashes(picture: Image.Image) -> Hashes:
    """Hashes and texture of an upright picture in mode L or RGB."""
    luminance = picture.convert("L")
    small = np.asarray(luminance.resize((_SAMPLE_SIDE, _SAMPLE_SIDE), Image.Resampling.LANCZOS))
    wide = np.asarray(luminance.resize((64, 64), Image.Resampling.LANCZOS))
    return Hashes(
        int.from_bytes(_low_frequencies(small, 8), "big", signed=True),
        _low_frequencies(wide, 16),
        texture(wide) if min(picture.size) >= _SAMPLE_SIDE else 0,
    )


def _low_frequencies(pixels: npt.NDArray[np.uint8], side: int) -> bytes:
    """Which of the side x side lowest DCT coefficients are over their median, packed row by row."""
    # The same transform as imagehash's, so that even rounding in flat pictures agrees.
    spectrum = dct(dct(pixels.astype(np.float64), axis=0), axis=1)[:side, :side]
    return np.packbits(spectrum > np.median(spectrum)).tobytes()


def texture(pixels: npt.NDArray[np.uint8]) -> int:
    """PDQ's quality of 64x64 luminances: the sum of gradients in whole percents, over 90, to 100.

    Gradients under one percent count as none, so noise alone has no texture.
    """
    levels = pixels.astype(np.int32)
    total = sum(int((np.abs(np.diff(levels, axis=axis)) * 100 // 255).sum()) for axis in (0, 1))
    return min(100, total // 90)


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
