"""CLIP models: any open_clip architecture with weights from a hub tag or a local file.

Pictures and captions become unit vectors whose dot product is their similarity.
Source: Radford et al. 2021, arXiv:2103.00020; models and transforms are open_clip's own.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.score import towers
from pipeline.score.batches import Copier, Memory, Pending, start
from pipeline.score.compat import import_open_clip
from pipeline.score.shape import Shape
from pipeline.score.tokens import Tokenize, tokenize_with
from pipeline.score.towers import Layer, LayerMaker

Precision = Literal["auto", "fp32", "bf16", "fp16", "int16"]

_MODELS = Path(__file__).parent / "models"
SHIPPED_MODEL = "pairmill-tiny"
SHIPPED_WEIGHTS = _MODELS / f"{SHIPPED_MODEL}.safetensors"
# Scenes fill their whole frame, and a centre crop would cut off what captions speak of.
_SHIPPED_PREPROCESS = {"resize_mode": "squash"}
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".npz")
_LOCAL_FOLDER = "local-dir:"


def is_local(model: str, pretrained: str) -> bool:
    """Whether the weights are a file or folder of this machine rather than a hub tag."""
    return (
        model == SHIPPED_MODEL
        or model.startswith(_LOCAL_FOLDER)
        or os.sep in pretrained
        or pretrained.endswith(_WEIGHT_SUFFIXES)
    )


def local_weights(model: str, pretrained: str, prefix: str = "") -> Path:
    """The local weight file. Raises InputError, naming the config key, when there is none.

    prefix: of the names of the two settings in `[score]`.
    """
    if model.startswith(_LOCAL_FOLDER):
        folder = Path(model.removeprefix(_LOCAL_FOLDER))
        found = sorted(p for p in folder.glob("*") if p.suffix in _WEIGHT_SUFFIXES)
        if not found:
            raise InputError(f"score.{prefix}model = {model!r}: no weight file in that folder")
        return found[0]
    path = Path(pretrained) if pretrained else SHIPPED_WEIGHTS
    if not path.is_file():
        raise InputError(
            f"score.{prefix}pretrained = {pretrained!r}: no such file; give the path of a weight "
            f"file, a tag that open_clip knows for {model}, or model = {SHIPPED_MODEL!r} with "
            "pretrained empty for the small model that is included"
        )
    return path


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file; read once in a process while it stays the same."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(model: str, pretrained: str, prefix: str = "") -> str | None:
    """Hex digest of local weights, and of the architecture beside them in a `local-dir:`; None for
    a hub tag. Raises InputError as `local_weights`."""
    if not is_local(model, pretrained):
        return None
    path = local_weights(model, pretrained, prefix)
    if not model.startswith(_LOCAL_FOLDER):
        return sha256_of(path)
    beside = sorted(p for p in path.parent.glob("*.json") if p.is_file())
    digests = [sha256_of(path), *(p.name + sha256_of(p) for p in beside)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def register_shipped() -> None:
    """Make the included architectures known to open_clip, beside its own."""
    open_clip = import_open_clip()
    if SHIPPED_MODEL not in open_clip.list_models():
        open_clip.add_model_config(_MODELS)


def _attention_of_any_length() -> AbstractContextManager[None]:
    """Without cuDNN's, which is planned anew for each length: a tenth of a second every time."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    quick = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(quick)  # type: ignore[no-any-return]


class Tokens(NamedTuple):
    """Texts for a text tower. ids: int64 tensor [n, length]. order: the texts by how many of their
    tokens matter; lengths: these numbers in that order."""

    ids: Any
    lengths: Any
    order: Any


@dataclass(frozen=True)
class Clip:
    """A loaded model.

    tokenize: texts as ids, see `tokens`. images, texts: its towers, see `towers`. shape: what it
    sees of a picture. width: length of an embedding. memory: how many rows fit, as far as is known.
    """

    model: Any
    tokenizer: Any
    tokenize: Tokenize
    images: Layer
    texts: Layer
    shape: Shape
    mean: Any
    std: Any
    dtype: Any
    device: Any
    width: int
    copy: Copier
    memory: Memory = field(default_factory=Memory)

    def start_images(self, pixels: NDArray[np.uint8], batch: int = 64) -> Pending:
        """As `embed_images`; a GPU may still compute when this returns, and the vectors are waited
        for when what it returns is called. Start the next pictures first, and it is never idle."""

        def compute(rows: slice) -> Any:
            x = self.copy(pixels[rows]).permute(0, 3, 1, 2).float()
            return self.images(x.div_(255).sub_(self.mean).div_(self.std).to(self.dtype))

        return self._start(compute, len(pixels), batch)

    def embed_images(self, pixels: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, width], of uint8 pixels [n, side, side, 3] of its `shape`.

        Of as many pictures at once as `batch` says, or as fit into memory where that is less.
        """
        return self.start_images(pixels, batch)()

    def tokens(self, texts: list[str]) -> Tokens:
        """The texts as the model reads them: what is longer than it reads is cut. Not for use by
        two threads at once."""
        import torch

        ids = self.tokenize(texts)
        lengths, order = torch.sort(towers.lengths(self.model, ids), stable=True)
        return Tokens(ids, lengths, order)

    def start_tokens(self, tokens: Tokens, batch: int = 64) -> Pending:
        """As `embed_texts`, and as `start_images` as to when.

        Batches are made of texts of like length, so that little of them is padding.
        """

        def compute(rows: slice) -> Any:
            chosen = tokens.ids[tokens.order[rows], : int(tokens.lengths[rows][-1])]
            with _attention_of_any_length():
                return self.texts(self.copy(chosen.numpy()))

        count = len(tokens.ids)
        pending = self._start(compute, count, batch)

        def finish() -> NDArray[np.float32]:
            out = np.empty((count, self.width), np.float32)
            out[tokens.order.numpy()] = pending()
            return out

        return finish

    def embed_texts(self, texts: list[str], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, width]. Texts longer than the model reads are cut by it."""
        return self.start_tokens(self.tokens(texts), batch)()

    def _start(self, compute: Callable[[slice], Any], rows: int, batch: int) -> Pending:
        if not rows:
            return lambda: np.empty((0, self.width), np.float32)
        return start(rows, batch, self.memory, self.device, compute)


def load(
    model: str,
    pretrained: str = "",
    precision: Precision = "auto",
    device: str = "auto",
    threads: int = 1,
    prefix: str = "",
) -> Clip:
    """Load a model for scoring; sets this process's thread count.

    pretrained: a hub tag or the path of a weight file; empty for `pairmill-tiny`, which is
        included, and for `hf-hub:` and `local-dir:` models, whose name says it.
    precision: "auto" is bf16 where the processor or GPU computes in it, int16 where a processor
        has AVX2 alone, else fp32. "int16" is fp32 but for the linear layers, see `fixed`.
    device: "auto" is the GPU when there is one.
    prefix: of the names of its settings in `[score]`, for messages.
    Raises InputError when architecture or weights cannot be had.
    """
    import torch

    open_clip = import_open_clip()
    register_shipped()
    torch.set_num_threads(threads)
    where = torch.device(pick_device() if device == "auto" else device)
    kind = precision_on(device) if precision == "auto" else precision
    if is_local(model, pretrained) and not model.startswith(_LOCAL_FOLDER):
        pretrained = str(local_weights(model, pretrained, prefix))
    try:
        loaded = open_clip.create_model(
            model,
            pretrained=pretrained or None,
            precision="fp32" if kind == "int16" else kind,
            device=where,
            require_pretrained=True,
            force_preprocess_cfg=_SHIPPED_PREPROCESS if model == SHIPPED_MODEL else None,
        )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # noqa: BLE001 - a foreign weight file can fail in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"score.{prefix}model = {model!r} with score.{prefix}pretrained = {pretrained!r} "
            f"cannot be loaded: {told}; offline, download the weights elsewhere and give their path"
        ) from None
    loaded.eval()
    return wrap(loaded, tokenizer, kind, where, _layers(kind, where, threads))


def _layers(kind: str, where: Any, threads: int) -> LayerMaker:
    if kind != "int16":
        return towers.linear
    from pipeline.score import fixed  # compiles kernels, which only some processors need

    if where.type != "cpu" or not fixed.is_supported():
        raise InputError(
            f"score.precision = 'int16' is for processors with AVX2, not for {where}: give 'auto'"
        )
    return fixed.layer_maker(threads)


def wrap(loaded: Any, tokenizer: Any, kind: str, where: Any, layer: LayerMaker) -> Clip:
    """An open_clip model in evaluation mode, on its device, as what embeds. It has the weights of
    this moment: of a model that is trained on, wrap it again."""
    import torch

    cfg = import_open_clip().transform.PreprocessCfg(**loaded.visual.preprocess_cfg)
    side = cfg.size if isinstance(cfg.size, int) else cfg.size[0]
    mean, std = (torch.tensor(values, device=where).view(3, 1, 1) for values in (cfg.mean, cfg.std))
    return Clip(
        model=loaded,
        tokenizer=tokenizer,
        tokenize=tokenize_with(tokenizer),
        images=towers.image_tower(loaded, layer),
        texts=towers.text_tower(loaded, layer),
        shape=Shape(side, cfg.resize_mode, cfg.interpolation == "bilinear", cfg.fill_color),
        mean=mean,
        std=std,
        dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32),
        device=where,
        width=_width(loaded, tokenizer, where),
        copy=Copier(where),
    )


def _width(loaded: Any, tokenizer: Any, where: Any) -> int:
    """Length of its embeddings, found by asking: architectures keep it in different places."""
    import torch

    with torch.inference_mode():
        return int(loaded.encode_text(tokenizer(["a"]).to(where)).shape[1])


def pick_device() -> str:
    """The GPU when there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def is_gpu(device: str) -> bool:
    """Whether a device, "auto" too, is one."""
    import torch

    return bool(torch.device(pick_device() if device == "auto" else device).type == "cuda")


def precision_on(device: str) -> Precision:
    """What the precision "auto" is on a device, see `load`."""
    import torch

    if is_gpu(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return "bf16"
    # With AVX-512 a float32 product is as fast.
    return "int16" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "fp32"
