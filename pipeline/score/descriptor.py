"""Copy detection: a descriptor of a picture that stays near under crops, overlays and collages.

The model is a TorchScript file of the kind SSCD is published as (Pizzi et al. 2022,
arXiv:2202.10261): float32 pixels [n, 3, side, side] in, descriptors [n, width] out.
"""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.score.batches import Copier, Memory, Pending, start
from pipeline.score.clip import pick_device
from pipeline.score.shape import Shape

# Source: SSCD's README, "skew_320": resized to a square without keeping the shape, then ImageNet's
# mean and standard deviation.
SIDE = 320
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Descriptor:
    """A loaded model. shape: what it sees of a picture. width: of a descriptor."""

    model: Any
    mean: Any
    std: Any
    device: Any
    shape: Shape
    width: int
    copy: Copier
    memory: Memory = field(default_factory=Memory)

    def start_images(self, pixels: NDArray[np.uint8], batch: int = 64) -> Pending:
        """As `embed_images`; a GPU may still compute when this returns, and the vectors are waited
        for when what it returns is called."""
        if not len(pixels):
            return lambda: np.empty((0, self.width), np.float32)

        def compute(rows: slice) -> Any:
            x = self.copy(pixels[rows]).permute(0, 3, 1, 2).float()
            return self.model(x.div_(255).sub_(self.mean).div_(self.std))

        return start(len(pixels), batch, self.memory, self.device, compute)

    def embed_images(self, pixels: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, width], of uint8 pixels [n, side, side, 3]."""
        return self.start_images(pixels, batch)()


def is_script(model: str, pretrained: str) -> bool:
    """Whether `score.copy_model` is a TorchScript file rather than a model that open_clip loads."""
    return not pretrained and (os.sep in model or Path(model).suffix in (".pt", ".ts", ".pth"))


def script_file(path: str) -> Path:
    """The TorchScript file. Raises InputError, naming the config key, when it is not there."""
    if not Path(path).is_file():
        raise InputError(
            f"score.copy_model = {path!r}: no such file; give the path of a TorchScript file, or "
            "the name of an open_clip model with score.copy_pretrained"
        )
    return Path(path)


def load(
    path: str,
    side: int = SIDE,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    device: str = "auto",
    threads: int = 1,
) -> Descriptor:
    """Load a TorchScript file, in float32; sets this process's thread count.

    Raises InputError when it cannot be loaded, or does not give a vector of numbers a picture.
    """
    import torch

    file = script_file(path)
    torch.set_num_threads(threads)
    where = torch.device(pick_device() if device == "auto" else device)
    try:
        with warnings.catch_warnings():
            # Newer torch would have files of another kind; the published ones are of this.
            warnings.simplefilter("ignore", DeprecationWarning)
            model = torch.jit.load(str(file), map_location=where).eval()
        with torch.inference_mode():
            found = model(torch.zeros(2, 3, side, side, device=where))
    except Exception as error:  # noqa: BLE001 - a foreign file can fail in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"score.copy_model = {path!r} is no TorchScript model of pictures "
            f"[n, 3, {side}, {side}]: {told}"
        ) from None
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2:
        shape = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError(
            f"score.copy_model = {path!r} gives {shape} for 2 pictures, not [2, width]"
        )
    to_mean, to_std = (torch.tensor(v, device=where).view(3, 1, 1) for v in (mean, std))
    sees = Shape(side, "squash", is_bilinear=True)
    return Descriptor(model, to_mean, to_std, where, sees, int(found.shape[1]), Copier(where))
