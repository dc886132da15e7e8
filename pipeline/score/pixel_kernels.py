"""Loops over the pixels of one picture, compiled. All arrays are C-contiguous and read-only.

gray: uint8 [height, width]. pixels: uint8 [height, width, 3], RGB. Both at least 1 x 1.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.jit import allocating_kernel, kernel, signed

Bytes = NDArray[np.uint8]


@allocating_kernel
def luma(pixels: Bytes) -> Bytes:
    """uint8 [height, width]: ITU-R BT.601 in fixed point, as Pillow and OpenCV round it."""
    height, width, _ = pixels.shape
    out = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            r, g, b = pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2]
            out[y, x] = (
                np.int32(r) * 19595 + np.int32(g) * 38470 + np.int32(b) * 7471 + 32768
            ) >> 16
    return out


@kernel
def laplacian_variance(gray: Bytes) -> float:
    """Variance of the 4-neighbour Laplacian, mirrored at the edges without repeating them."""
    height, width = gray.shape
    total = np.int64(0)
    squares = np.int64(0)
    for y in range(height):
        above = y - 1 if y else min(1, height - 1)
        below = y + 1 if y + 1 < height else max(height - 2, 0)
        for x in range(width):
            left = x - 1 if x else min(1, width - 1)
            right = x + 1 if x + 1 < width else max(width - 2, 0)
            value = (
                signed(gray[above, x])
                + signed(gray[below, x])
                + signed(gray[y, left])
                + signed(gray[y, right])
                - 4 * signed(gray[y, x])
            )
            total += value
            squares += value * value
    n = height * width
    mean = total / n
    return float(squares / n - mean * mean)


@allocating_kernel
def entropy(gray: Bytes) -> float:
    """Shannon entropy of the grey values, in bits: 0 (one value) to 8."""
    counts = np.zeros(256, np.int64)
    for y in range(gray.shape[0]):
        for x in range(gray.shape[1]):
            counts[gray[y, x]] += 1
    bits = 0.0
    for value in range(256):
        if counts[value]:
            share = counts[value] / gray.size
            bits -= share * np.log2(share)
    return bits


@kernel
def _differs(pixels: Bytes, y: int, x: int, red: int, green: int, blue: int, far: int) -> bool:
    return bool(
        abs(signed(pixels[y, x, 0]) - red) > far
        or abs(signed(pixels[y, x, 1]) - green) > far
        or abs(signed(pixels[y, x, 2]) - blue) > far
    )


@kernel
def _line_differs(
    pixels: Bytes, side: int, depth: int, start: int, stop: int, colour: NDArray[np.int64], far: int
) -> int:
    """How many pixels of the line `depth` from a side, from start to stop, differ from a colour.

    side: 0 top, 1 bottom, 2 left, 3 right.
    """
    height, width, _ = pixels.shape
    red, green, blue = colour[0], colour[1], colour[2]
    count = 0
    for i in range(start, stop):
        if side == 0:
            y, x = depth, i
        elif side == 1:
            y, x = height - 1 - depth, i
        elif side == 2:
            y, x = i, depth
        else:
            y, x = i, width - 1 - depth
        count += _differs(pixels, y, x, red, green, blue, far)
    return count


@allocating_kernel
def frame_depths(
    pixels: Bytes, colours: NDArray[np.int64], far: int, stray: float
) -> NDArray[np.int64]:
    """Lines from each side (top, bottom, left, right) that are all of that side's colour.

    A line is when at most the share `stray` of its pixels differ by more than `far` in a channel.
    colours: int64 [4, 3].
    """
    height, width, _ = pixels.shape
    depths = np.zeros(4, np.int64)
    for side in range(4):
        lines = height if side < 2 else width
        length = width if side < 2 else height
        depth = 0
        while depth < lines:
            if _line_differs(pixels, side, depth, 0, length, colours[side], far) > stray * length:
                break
            depth += 1
        depths[side] = depth
    return depths


@allocating_kernel
def edge_shares(
    pixels: Bytes, colours: NDArray[np.int64], depths: NDArray[np.int64], far: int, blur: int
) -> NDArray[np.float64]:
    """How straight each side's frame ends: the share of the line after it, within the other sides'
    frames, that is of another colour; the best of the next `blur` lines. 0 where nothing is left.
    """
    height, width, _ = pixels.shape
    shares = np.zeros(4, np.float64)
    for side in range(4):
        lines = height if side < 2 else width
        other = 2 if side < 2 else 0
        start = depths[other]
        stop = (width if side < 2 else height) - depths[other + 1]
        if stop <= start:
            continue
        for depth in range(depths[side], min(depths[side] + blur, lines)):
            found = _line_differs(pixels, side, depth, start, stop, colours[side], far)
            shares[side] = max(shares[side], found / (stop - start))
    return shares
