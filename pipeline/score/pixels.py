"""What is measured of a picture's pixels: the shipped scorers, and functions of the user.

All work on the picture as it is stored. A function of the user's is named by `module:function`; it
takes uint8 [height, width, 3], RGB, and gives a number, or None where there is none to give.

Sources: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", for the variance
of the Laplacian; Shannon 1948 for entropy. Borders and seams are measured in docs/measurements.md.
"""

import hashlib
import importlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.tables import column

Pixels = NDArray[np.uint8]
ShippedName = Literal["sharpness", "entropy", "borders", "collage"]
Number = float | int | None

# A frame's line differs from its colour by more than FAR of 255 in at most the share STRAY of its
# pixels; it ends straight where, within BLUR lines, at least the share STRAIGHT does. A product on
# white does not end straight, as only its tip touches the line.
_FAR, _STRAY, _BLUR, _STRAIGHT = 16, 0.02, 4, 0.5


def _number(name: str, doc: str, unit: str | None = None) -> pa.Field:
    return column(name, pa.float32(), doc, unit=unit, null="not to be had of the picture")


FIELDS: dict[ShippedName, tuple[pa.Field, ...]] = {
    "sharpness": (_number("sharpness", "variance of the Laplacian; low is blurred or flat"),),
    "entropy": (_number("entropy", "of the grey values, from 0 (one value) to 8", "bits"),),
    "borders": (
        _number("border_share", "of the area that is a plain frame, 0 to 1"),
        _number("border_top", "depth of the frame, of the height"),
        _number("border_bottom", "depth of the frame, of the height"),
        _number("border_left", "depth of the frame, of the width"),
        _number("border_right", "depth of the frame, of the width"),
    ),
    "collage": (_number("collage_seam", "strength of the straightest seam across, 0 to 1"),),
}


@dataclass(frozen=True)
class Shipped:
    """The scorers of `score.pixels`, as one `scorers.PixelScorer`."""

    names: tuple[ShippedName, ...]

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns of each, in the order of the names."""
        return tuple(field for name in self.names for field in FIELDS[name])

    def check(self) -> object:
        """Nothing outside the code decides what they give."""
        return list(self.names)

    def load(self) -> Callable[[Pixels], list[Number]]:
        """The function that measures a picture; its kernels are compiled on the first one."""

        def score(pixels: Pixels) -> list[Number]:
            from pipeline.score.pixel_kernels import luma

            pixels = np.ascontiguousarray(pixels).view()
            pixels.flags.writeable = False  # kernels are compiled for this alone
            grey = luma(pixels)
            return [number for name in self.names for number in _MEASURES[name](pixels, grey)]

        return score


def sharpness(pixels: Pixels, grey: Pixels) -> list[Number]:
    """Variance of the Laplacian of the grey values, uint8 [height, width]."""
    from pipeline.score.pixel_kernels import laplacian_variance

    return [laplacian_variance(grey)]


def entropy(pixels: Pixels, grey: Pixels) -> list[Number]:
    """Shannon entropy of the grey values, uint8 [height, width], in bits."""
    from pipeline.score.pixel_kernels import entropy as bits

    return [bits(grey)]


def borders(pixels: Pixels, grey: Pixels) -> list[Number]:
    """The frame's share of the area, and its depth at top, bottom, left and right as a share.

    A picture of one colour has no frame. pixels: uint8 [height, width, 3], read-only.
    """
    from pipeline.score.pixel_kernels import edge_shares, frame_depths

    lines = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    colours = np.stack([np.median(line, axis=0) for line in lines]).astype(np.int64)
    depths = frame_depths(pixels, colours, _FAR, _STRAY)
    straight = edge_shares(pixels, colours, depths, _FAR, _BLUR) >= _STRAIGHT
    height, width, _ = pixels.shape
    top, bottom, left, right = depths * straight / np.array([height, height, width, width])
    return [1 - (1 - top - bottom) * (1 - left - right), top, bottom, left, right]


def collage(pixels: Pixels, grey: Pixels) -> list[Number]:
    """Strength of the straightest seam from side to side, or from top to bottom: 0 to 1.

    pixels: uint8 [height, width, 3], read-only.
    """
    from pipeline.score.seam_kernel import profile, strongest

    turned = np.ascontiguousarray(pixels.transpose(1, 0, 2)).view()
    turned.flags.writeable = False
    return [max(strongest(*profile(each), each.shape[1]) for each in (pixels, turned))]


_MEASURES: dict[ShippedName, Callable[[Pixels, Pixels], list[Number]]] = {
    "sharpness": sharpness,
    "entropy": entropy,
    "borders": borders,
    "collage": collage,
}


@dataclass(frozen=True)
class UserFunction:
    """A function of the user's, `scorers.PixelScorer`: `score.pixel_functions.<name>`."""

    name: str
    path: str  # module:function

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """Its one column."""
        return (_number(self.name, f"what {self.path} gives for the picture"),)

    def check(self) -> object:
        """Its path and a digest of its module's source.

        Raises InputError where it cannot be imported, or fails on a small grey picture.
        """
        function = self._function()
        ramp = np.linspace(0, 255, 64).astype(np.uint8)
        try:
            self._checked(function(np.dstack([np.broadcast_to(ramp, (64, 64))] * 3)))
        except Exception as error:  # noqa: BLE001 - foreign code can fail in any way
            raise InputError(
                f"{self._key} fails on a picture of 64 x 64 pixels: {_told(error)}"
            ) from None
        source = inspect.getsourcefile(function)
        digest = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""
        return {"function": self.path, "sha256": digest}

    def load(self) -> Callable[[Pixels], list[Number]]:
        """The function; a picture that it fails on has no number, and each kind of failure is told
        once. Raises InputError where it cannot be imported."""
        function = self._function()

        def score(pixels: Pixels) -> list[Number]:
            try:
                return [self._checked(function(pixels))]
            except Exception as error:  # noqa: BLE001 - one picture must not end the run
                warnings.warn(f"{self._key}: {_told(error)}", RuntimeWarning, stacklevel=2)
                return [None]

        return score

    @property
    def _key(self) -> str:
        return f"score.pixel_functions.{self.name} = {self.path!r}"

    def _function(self) -> Callable[[Pixels], Any]:
        module, _, name = self.path.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except Exception as error:  # noqa: BLE001 - importing runs foreign code
            raise InputError(
                f"{self._key} cannot be imported: {_told(error)}; it is to be module:function, "
                "importable here and on every worker (PYTHONPATH, or --py-files)"
            ) from None
        if not callable(function):
            raise InputError(f"{self._key} is no function")
        return function  # type: ignore[no-any-return]

    def _checked(self, value: Any) -> Number:
        if value is None:
            return None
        number = float(value)  # of NumPy's and torch's numbers too
        return number if np.isfinite(number) else None


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
