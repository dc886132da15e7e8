"""The models of a recipe: how each is loaded, and what tells it from every other."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pipeline.score import clip, descriptor
from pipeline.score.clip import Clip, Precision
from pipeline.score.descriptor import Descriptor

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Spec:
    """A model. name: in EMBEDDINGS. prefix: of its settings in `[score]`, for messages.

    scale: side, mean and deviation of the input of a TorchScript file; None for open_clip's models.
    flipped: whether it embeds mirrored pictures too. captions: whether it embeds captions.
    """

    name: str
    model: str
    pretrained: str = ""
    precision: Precision = "auto"
    prefix: str = ""
    scale: tuple[int, Rgb, Rgb] | None = None
    flipped: bool = False
    captions: bool = True

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it makes of a picture: kinds of EMBEDDINGS."""
        return ("image", "flipped") if self.flipped else ("image",)

    def digest(self) -> str | None:
        """Digest of local weights, read on this machine; None for a hub tag, which names itself.
        Raises InputError when they are not there."""
        if self.scale:
            return clip.sha256_of(descriptor.script_file(self.model))
        return clip.digest_of(self.model, self.pretrained, self.prefix)

    def identity(self) -> dict[str, Any]:
        """What its embeddings depend on, JSON-ready, but for their last bits (batch, threads and
        processor); where local weights lie does not count. Raises as `digest`."""
        if self.scale:
            side, mean, std = self.scale
            scale = {"side": side, "mean": list(mean), "std": list(std)}
            return {"model": "torchscript", "weights": self.digest(), "precision": "fp32"} | scale
        schema, colon, _ = self.model.partition(":")
        weights = self.digest()
        model = schema if weights and colon else self.model
        return {"model": model, "weights": weights or self.pretrained, "precision": self.precision}

    def resolved(self, precision: Precision) -> "Spec":
        """With a precision instead of "auto"."""
        return replace(self, precision=precision) if self.precision == "auto" else self


@lru_cache(maxsize=16)
def load(spec: Spec, device: str, threads: int) -> Clip | Descriptor:
    """The model, loaded once in this process. Raises InputError when it cannot be had."""
    if spec.scale:
        side, mean, std = spec.scale
        return descriptor.load(spec.model, side, mean, std, device, threads)
    return clip.load(
        spec.model, spec.pretrained, spec.precision, device, threads, prefix=spec.prefix
    )
