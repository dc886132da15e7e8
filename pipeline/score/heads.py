"""Heads: small networks on stored embeddings, as aesthetic, NSFW and watermark predictors are.

The weights are the user's; nothing is downloaded. What stands between the layers, which no weight
file tells, follows from the kind.

Sources: github.com/LAION-AI/aesthetic-predictor, README (v1: one linear layer);
github.com/christophschuhmann/improved-aesthetic-predictor, simple_inference.py (v2: five linear
layers without activations); github.com/LAION-AI/CLIP-based-NSFW-Detector, src/models.py and
convert_heads_to_pytorch.py (the Keras models of ViT-L/14 and ViT-B/32) and h14_nsfw_model.py;
github.com/mlfoundations/dataset2metadata, models.py (DataComp's form of the first). All take
embeddings of unit length.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.stage import Section
from pipeline.core.tables import column
from pipeline.score.network import Floats, Network, Output, build, read_arrays

Kind = Literal["aesthetic_v1", "aesthetic_v2", "nsfw", "nsfw_h14", "mlp"]

_SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")


@dataclass(frozen=True)
class _Form:
    """What a published head looks like, and where it is to be had.

    widths: of the outputs of its layers, each published variant; none: any.
    relu: whether ReLU stands between its layers, else nothing.
    """

    widths: tuple[tuple[int, ...], ...]
    relu: bool
    output: Output
    where: str


_FORMS: dict[Kind, _Form] = {
    "aesthetic_v1": _Form(
        ((1,),),
        False,
        "raw",
        "github.com/LAION-AI/aesthetic-predictor, sa_0_4_vit_l_14_linear.pth and the like",
    ),
    "aesthetic_v2": _Form(
        ((1024, 128, 64, 16, 1),),
        False,
        "raw",
        "github.com/christophschuhmann/improved-aesthetic-predictor, sac+logos+ava1-l14-linearMSE"
        ".pth",
    ),
    "nsfw": _Form(
        ((64, 512, 256, 1), (32, 32, 1)),
        True,
        "sigmoid",
        "github.com/LAION-AI/CLIP-based-NSFW-Detector, models/clip_ViT-L-14_openai_binary_nsfw_head"
        ".pth and clip_ViT-B-32_openai_binary_nsfw_head.pth",
    ),
    "nsfw_h14": _Form(
        ((1024, 2048, 1024, 256, 128, 16, 1),),
        True,
        "raw",
        "github.com/LAION-AI/CLIP-based-NSFW-Detector, h14_nsfw.pth",
    ),
    "mlp": _Form((), True, "sigmoid", "whoever trained it"),
}


class HeadSection(Section):
    """`[score.heads.<name>]`: one head. Its column is `<name>_score`."""

    path: str  # of the weight file, on every worker
    kind: Kind  # which network it is: the table in docs/how-it-works.md
    # Whose embeddings it reads: a name of [score.models], or "clip" for the model of [score].
    model: str = "clip"
    # What is made of the last layer: by the kind unless given. Softmax takes the output `index`.
    output: Output | None = None
    index: int = 0


@dataclass(frozen=True)
class WeightedHead:
    """A head of the recipe, `scorers.Head`: `[score.heads.<name>]`."""

    name: str
    section: HeadSection

    @property
    def model(self) -> str:
        """Whose embeddings it reads."""
        return self.section.model

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """Its one column."""
        doc = f"of the head {self.name} ({self.section.kind}) on the embedding by {self.model}"
        null = "the picture was not scored"
        return (column(f"{self.name}_score", pa.float32(), doc, null=null),)

    def check(self) -> object:
        """Digest of its weights, and what else its numbers depend on. Raises as `load`."""
        load(self.name, self.section)
        with weight_file(self.name, self.section).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest} | self.section.model_dump(exclude={"path"})

    def load(self) -> Callable[[Floats], list[pa.Array]]:
        """Of unit vectors, float32 [n, width], its column, float32 [n].

        Raises InputError as `load`, and what it returns does for vectors of another width.
        """
        network = load(self.name, self.section)

        def score(vectors: Floats) -> list[pa.Array]:
            if vectors.shape[1] != network.width and len(vectors):
                raise InputError(
                    f"score.heads.{self.name}: {self.section.path!r} reads embeddings of "
                    f"{network.width} numbers, but those of the model {self.model!r} have "
                    f"{vectors.shape[1]}; set score.heads.{self.name}.model to the model that the "
                    "head was trained on"
                )
            return [pa.array(network.score(vectors))]

        return score


def weight_file(name: str, section: HeadSection) -> Path:
    """The weight file. InputError, naming the key and where to get one, when it is not there."""
    path = Path(section.path)
    if not path.is_file():
        raise InputError(
            f"score.heads.{name}.path = {section.path!r}: no such file; get the weights from "
            f"{_FORMS[section.kind].where}, and set score.heads.{name}.path to where they lie on "
            "every worker"
        )
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"score.heads.{name}.path = {section.path!r} is of no known kind: "
            f"{', '.join(_SUFFIXES)}"
        )
    return path


def load(name: str, section: HeadSection) -> Network:
    """Read a head's weights. Raises InputError, naming the key, when the file is missing, or is no
    head of its kind."""
    path = weight_file(name, section)
    try:
        arrays = read_arrays(path)
    except Exception as error:  # noqa: BLE001 - a foreign weight file can fail in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"score.heads.{name}.path = {section.path!r} cannot be read: {told}"
        ) from None
    form = _FORMS[section.kind]
    try:
        network = build(arrays, form.relu, section.output or form.output, section.index)
        _require(network, section.kind)
    except ValueError as error:
        raise InputError(
            f"score.heads.{name}.path = {section.path!r} is no head of the kind "
            f"{section.kind!r}: {error}"
        ) from None
    return network


def _require(network: Network, kind: Kind) -> None:
    """Raise ValueError, saying why, for a network that is no published one of its kind."""
    form = _FORMS[kind]
    if form.widths and network.widths not in form.widths:
        known = " or ".join(str(list(w)) for w in form.widths)
        found = list(network.widths)
        raise ValueError(f"its layers give {found} numbers, not {known}; see kind = 'mlp'")
    if kind == "nsfw" and not network.is_normalised:
        raise ValueError("it has no normalisation (norm.mean, norm.variance)")
