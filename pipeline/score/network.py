"""Small networks of linear layers on vectors, in NumPy, read from files of weights.

A file is a PyTorch state dict (`.pth`, `.pt`), or the same names and arrays as `.safetensors` or
`.npz`: `<layer>.weight` [outputs, inputs] and `<layer>.bias`, and of a normalisation
`<name>.mean` and `<name>.variance`, or the four arrays of a batch normalisation.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Output = Literal["raw", "sigmoid", "softmax"]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_BATCH = 8192  # rows: 64 MiB of the widest published layer's output


@dataclass(frozen=True)
class Linear:
    """weight: float32 [inputs, outputs]. bias: float32 [outputs]. relu: of what comes out."""

    weight: Floats
    bias: Floats
    relu: bool


@dataclass(frozen=True)
class Network:
    """A loaded head. A normalisation before its layers is folded into the first of them."""

    layers: tuple[Linear, ...]
    output: Output
    index: int  # of the output that is the score
    is_normalised: bool

    @property
    def width(self) -> int:
        """Length of the embeddings it reads."""
        return len(self.layers[0].weight)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of what its layers give."""
        return tuple(len(layer.bias) for layer in self.layers)

    def score(self, vectors: Floats) -> Floats:
        """One number per embedding: float32 [n], of unit vectors float32 [n, width]."""
        found = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _BATCH):
            found[start : start + _BATCH] = self._outputs(vectors[start : start + _BATCH])
        return found

    def _outputs(self, x: Floats) -> Floats:
        for layer in self.layers:
            x = x @ layer.weight + layer.bias
            if layer.relu:
                np.maximum(x, 0, out=x)
        if self.output == "softmax":
            with np.errstate(over="ignore"):  # an output that outweighs ours by far: 1 / inf is 0
                return np.asarray(1 / np.exp(x - x[:, self.index, None]).sum(1), np.float32)
        x = x[:, self.index]
        return x if self.output == "raw" else np.asarray(0.5 * (1 + np.tanh(x / 2)), np.float32)


def read_arrays(path: Path) -> dict[str, Floats]:
    """Name -> array of a weight file, all float32. Raises whatever its reader does."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = dict(file)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        found = load_file(path)
    else:
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)  # as trainers wrap it in their checkpoints
        found = {name: tensor.float().numpy() for name, tensor in state.items()}
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layers.10 after layers.9, and dense before dense1."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)]


def build(arrays: Mapping[str, Floats], relu: bool, output: Output, index: int) -> Network:
    """Linear layers, put in the order of the numbers in their names, after one normalisation or
    none.

    relu: whether ReLU stands between them. Raises ValueError, saying why, when they are no network.
    """
    groups: dict[str, dict[str, Floats]] = {}
    for name, array in arrays.items():
        prefix, _, last = name.rpartition(".")
        groups.setdefault(prefix, {})[last] = array
    is_linear = {p: "weight" in g and g["weight"].ndim == 2 for p, g in groups.items()}
    names = sorted((p for p in groups if is_linear[p]), key=_natural)
    others = [p for p in groups if not is_linear[p]]
    if not names or len(others) > 1:
        told = ", ".join(f"{n} {list(a.shape)}" for n, a in list(arrays.items())[:20])
        raise ValueError(f"its layers are to be linear, after one normalisation or none: {told}")
    layers = [
        _linear(name, groups[name], relu and _is_apart(name, after))
        for name, after in zip(names, [*names[1:], None], strict=True)
    ]
    for before, layer in itertools.pairwise(layers):
        if before.weight.shape[1] != layer.weight.shape[0]:
            raise ValueError(f"its layers do not follow each other: {', '.join(names)}")
    if others:
        layers[0] = _after(*_normalisation(others[0], groups[others[0]]), layers[0])
    if not 0 <= index < len(layers[-1].bias):
        raise ValueError(f"it has {len(layers[-1].bias)} outputs, none is index = {index}")
    return Network(tuple(layers), output, index, bool(others))


def _is_apart(name: str, after: str | None) -> bool:
    """Whether something stands between two layers, and that there is a second.

    In a numbered sequence nothing stands between layers.15 and layers.16.
    """
    if after is None:
        return False
    numbers = [re.fullmatch(r"(?:.*\.)?(\d+)", each) for each in (name, after)]
    first, second = (int(found.group(1)) if found else None for found in numbers)
    return first is None or second is None or second - first > 1


def _linear(name: str, group: dict[str, Floats], relu: bool) -> Linear:
    weight = np.ascontiguousarray(group["weight"].T)
    bias = group.get("bias", np.zeros(weight.shape[1], np.float32))
    if bias.shape != weight.shape[1:]:
        raise ValueError(f"{name}.bias is {list(bias.shape)}, not [{weight.shape[1]}]")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError(f"{name} holds values that are not finite")
    return Linear(weight, bias, relu)


def _normalisation(name: str, group: dict[str, Floats]) -> tuple[Doubles, Doubles]:
    """scale and shift, [width] each, of x * scale + shift.

    Either mean and variance, or a batch normalisation's running ones with weight and bias.
    """
    prefix = "running_" if "running_mean" in group else ""
    variances = [group[n] for n in (f"{prefix}var", f"{prefix}variance") if n in group]
    if f"{prefix}mean" not in group or not variances or not (variances[0] >= 0).all():
        raise ValueError(f"{name} is neither a linear layer nor a normalisation: {sorted(group)}")
    # Source of the least deviation: CLIP-based-NSFW-Detector, src/models.py.
    deviation = np.sqrt(variances[0].astype(np.float64)) + 1e-10
    scale = group.get("weight", np.float32(1)) / deviation
    shift = group.get("bias", np.float32(0)) - group[f"{prefix}mean"] * scale
    return scale, shift


def _after(scale: Doubles, shift: Doubles, layer: Linear) -> Linear:
    """The layer that does both: x * scale + shift, then the layer. Raises ValueError."""
    if scale.shape != layer.weight.shape[:1]:
        raise ValueError(f"it normalises {len(scale)} numbers and reads {len(layer.weight)}")
    weight = layer.weight.astype(np.float64)
    folded = (scale[:, None] * weight).astype(np.float32)
    return Linear(folded, (layer.bias + shift @ weight).astype(np.float32), layer.relu)
