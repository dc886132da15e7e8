"""Which hashes a picture would have if it were mirrored or turned: seven besides the upright one.

They follow from the four spectra of the picture and its three mirror images by transposing. The
first three turns keep width and height, the others exchange them.
Source: the dihedral hashes of Facebook's ThreatExchange, `pdqHash256esFromFloatLuma`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Names of PIL.Image.Transpose, in the order of the columns `turned64` and `turned256`.
TURNS = (
    "FLIP_LEFT_RIGHT",
    "FLIP_TOP_BOTTOM",
    "ROTATE_180",
    "TRANSPOSE",
    "ROTATE_90",
    "ROTATE_270",
    "TRANSVERSE",
)
# From this one on a turn exchanges width and height.
FIRST_SIDEWAYS = 3


def mirrored_spectra(spectrum: Floats) -> list[Floats]:
    """Of the picture, and mirrored left to right, top to bottom, and both.

    spectrum: [n, n], rows of vertical and columns of horizontal frequencies, from 0 on. A mirror
    image has the same but for the sign of every odd frequency along the mirrored axis.
    """
    signs = np.where(np.arange(len(spectrum)) % 2, -1.0, 1.0)
    across, down = signs[None, :], signs[:, None]
    return [spectrum, spectrum * across, spectrum * down, spectrum * (across * down)]


def turned_bits(mirrored: Sequence[Floats]) -> npt.NDArray[np.bool_]:
    """Which coefficients of each turned picture are over their median: [7, n * n], row by row.

    mirrored: four spectra in the order of `mirrored_spectra`.
    """
    spectra = [*mirrored[1:], *(spectrum.T for spectrum in mirrored)]
    flat = np.stack(spectra).reshape(len(TURNS), -1)
    ordered = np.sort(flat, axis=1)
    middle = flat.shape[1] // 2
    medians = (ordered[:, middle - 1] + ordered[:, middle]) / 2
    bits: npt.NDArray[np.bool_] = flat > medians[:, None]
    return bits
