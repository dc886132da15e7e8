"""PDQ, the 256-bit perceptual hash: which of 16x16 low frequencies exceed their median.

Source: Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019),
and the constants of its reference implementation in ThreatExchange. Luminance is blurred by two
box filters each way (Jarosz), sampled at 64x64, and transformed by a DCT without its first row and
column of constants. The filters and the sampling are linear and separable, so that they are two
small matrix products here.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SIDE = 64
_LOW = 16
# A window of the box filters is this part of a side, rounded up: half the distance of two samples.
_WINDOW_DIVISOR = 2 * SIDE
_FREQUENCIES = np.arange(1, _LOW + 1)[:, None] * (2 * np.arange(SIDE)[None, :] + 1)
_DCT: Floats = np.sqrt(2 / SIDE) * np.cos(np.pi / (2 * SIDE) * _FREQUENCIES)


def sampling(length: int) -> Floats:
    """[64, length]: what each of 64 samples along a side takes from every pixel of that side.

    Two box filters, whose windows shrink at the ends, then every (length / 64)th pixel.
    """
    window = -(-length // _WINDOW_DIVISOR)
    after = (window + 2) // 2  # of the window, the pixel itself among them
    ends = np.arange(length)
    first, last = ends - (window - after), ends + after - 1
    inside = (ends[None, :] >= first[:, None]) & (ends[None, :] <= last[:, None])
    box = inside / inside.sum(axis=1, keepdims=True)
    samples = ((np.arange(SIDE) + 0.5) * length / SIDE).astype(np.int64)
    blurred: Floats = box[samples] @ box
    return blurred


def spectrum(luminance: Floats) -> Floats:
    """[16, 16] frequencies, from the first on, of 64x64 sampled luminances."""
    found: Floats = _DCT @ luminance @ _DCT.T
    return found


def packed(bits: npt.NDArray[np.bool_]) -> bytes:
    """The hash by which frequencies are over their median: 32 bytes, the highest frequency's bit
    first, as the reference writes them in hexadecimal."""
    return np.packbits(bits.ravel()[::-1]).tobytes()


def median(values: Floats) -> float:
    """The mean of the two middle ones of an even number of values; NumPy's own takes ten times as
    long for so few."""
    ordered = np.sort(values, axis=None)
    middle = ordered.size // 2
    return float(ordered[middle - 1] + ordered[middle]) / 2


def quality(luminance: Floats) -> int:
    """Texture of 64x64 sampled luminances: the sum of gradients in whole percents over 90, to 100.

    Gradients under one percent count as none, so noise alone has no texture.
    """
    total = sum(
        np.trunc(np.abs(np.diff(luminance, axis=axis)) * (100 / 255)).sum() for axis in (0, 1)
    )
    return min(100, int(total) // 90)
