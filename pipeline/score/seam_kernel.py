"""The straightest seam across a picture, as between the pictures of a collage; compiled.

A seam is a line at which most rows jump, more than they do beside it. A horizon does as well, but
jumps everywhere the same way, from sky to sea; where unlike pictures meet, each row jumps its own
way. A seam whose rows agree counts only with a second one near it that jumps back: the two sides of
a gutter. The constants were chosen on photos that the measurement in docs/measurements.md leaves
out.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.jit import allocating_kernel, kernel, signed

STEP = 2  # pixels: over which a jump is measured; a seam is blurred by scaling and JPEG
APART = 3  # pixels: from the seam to what it is compared with, out of its blur
FAR = 12  # of 255: a smaller jump is noise
STEEPER = 4  # times the smaller of the jumps beside it; the other may be a thin gutter's other side
STRETCHES = 4  # along the seam, equal ones; each must jump
MARGIN = 0.08  # of the picture's side: nearer to the edge it is a border
AGREE = 0.95  # length of the sum of the jumps over the sum of their lengths, colours as vectors
GUTTER = 0.12  # of the picture's side: as wide as a gutter is


@allocating_kernel
def profile(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """How much of a seam each column is, from the picture's left to its right.

    pixels: uint8 [height, width, 3], C-contiguous, read-only.
    Gives strength, float64 [n]: of the weakest stretch, the share of its rows that jump;
    agreement, float64 [n], 0 to 1; and the sum of the jumps, int64 [n, 3]. n may be 0.
    """
    height, width, _ = pixels.shape
    margin = max(int(width * MARGIN), APART)
    n = max(width - STEP - 2 * margin, 0)
    jumps = np.zeros((STRETCHES, n), np.int64)
    sums = np.zeros((n, 3), np.int64)
    lengths = np.zeros(n, np.float64)
    sizes = np.zeros(STRETCHES, np.int64)
    row = np.zeros(max(width - STEP, 0), np.int64)
    for y in range(height):
        stretch = y * STRETCHES // height
        sizes[stretch] += 1
        for x in range(len(row)):
            largest = 0
            for c in range(3):
                jump = abs(signed(pixels[y, x + STEP, c]) - signed(pixels[y, x, c]))
                largest = max(largest, jump)
            row[x] = largest
        for i in range(n):
            x = i + margin
            beside = min(row[x - APART], row[x + APART])
            jumps[stretch, i] += row[x] > FAR and row[x] > STEEPER * beside
            squares = 0
            for c in range(3):
                jump = signed(pixels[y, x + STEP, c]) - signed(pixels[y, x, c])
                sums[i, c] += jump
                squares += jump * jump
            lengths[i] += np.sqrt(squares)
    strength = np.zeros(n, np.float64)
    agreement = np.ones(n, np.float64)
    for i in range(n):
        strength[i] = 1.0
        for stretch in range(STRETCHES):
            if sizes[stretch]:
                strength[i] = min(strength[i], jumps[stretch, i] / sizes[stretch])
        if lengths[i] > 0:
            total = 0
            for c in range(3):
                total += sums[i, c] * sums[i, c]
            agreement[i] = np.sqrt(total) / lengths[i]
    return strength, agreement, sums


@kernel
def strongest(
    strength: NDArray[np.float64],
    agreement: NDArray[np.float64],
    sums: NDArray[np.int64],
    width: int,
) -> float:
    """The strongest seam of a profile, 0 to 1. width: of the picture, in pixels."""
    best = 0.0
    for i in range(len(strength)):
        if agreement[i] < AGREE:
            best = max(best, strength[i])
    reach = int(width * GUTTER)
    for i in range(len(strength)):
        if 2 * strength[i] <= best:
            continue
        for j in range(i + 1, min(i + reach + 1, len(strength))):
            back = 0
            for c in range(3):
                back += sums[i, c] * sums[j, c]
            if back < 0:
                # A picture may be as light as the gutter along one of its sides.
                weaker, stronger = min(strength[i], strength[j]), max(strength[i], strength[j])
                best = max(best, min(2 * weaker, stronger))
    return best
