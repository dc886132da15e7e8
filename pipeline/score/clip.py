"""CLIP models: any open_clip architecture with weights from a hub tag or a local file.

Pictures and captions become unit vectors whose dot product is their similarity.
Source: Radford et al. 2021, arXiv:2103.00020; models and transforms are open_clip's own.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.score.compat import import_open_clip

Precision = Literal["auto", "fp32", "bf16", "fp16"]

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


@dataclass(frozen=True)
class Clip:
    """A loaded model.

    shape: the model's own transforms of a Pillow image up to, but without, normalisation.
    image_side: pixels a side of the square input. width: length of an embedding.
    """

    model: Any
    tokenizer: Any
    shape: list[Any]
    mean: Any
    std: Any
    dtype: Any
    device: Any
    image_side: int
    width: int

    def pixels(self, image: Any) -> NDArray[np.uint8]:
        """What the model sees of a Pillow image: uint8 [image_side, image_side, 3]. Thread-safe."""
        image = image.convert("RGB")
        for step in self.shape:
            image = step(image)
        return np.asarray(image)

    def embed_images(self, pixels: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, width], of uint8 pixels [n, image_side, image_side, 3]."""
        import torch

        out = np.empty((len(pixels), self.width), np.float32)
        with torch.inference_mode():
            for i in range(0, len(pixels), batch):
                x = torch.from_numpy(pixels[i : i + batch]).to(self.device)
                x = x.permute(0, 3, 1, 2).float().div(255).sub(self.mean).div(self.std)
                out[i : i + batch] = unit(self.model.encode_image(x.to(self.dtype)))
        return out

    def embed_texts(self, texts: list[str], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, width]. Texts longer than the model reads are cut by it.

        Batches are made of texts of like length, so that little of them is padding.
        """
        import torch

        out = np.empty((len(texts), self.width), np.float32)
        if not texts:
            return out
        tokens = self.tokenizer(texts)
        order = torch.argsort((tokens != 0).sum(1), stable=True)
        with torch.inference_mode():
            for i in range(0, len(texts), batch):
                rows = order[i : i + batch]
                chosen = tokens[rows]
                if _reads_only_back(self.model):
                    vectors = encode_tokens(self.model, cut_padding(chosen).to(self.device))
                else:
                    vectors = self.model.encode_text(chosen.to(self.device))
                out[rows.numpy()] = unit(vectors)
        return out


def unit(vectors: Any) -> NDArray[np.float32]:
    """A torch tensor [n, width] as unit vectors, float32."""
    import torch

    normal = torch.nn.functional.normalize(vectors.float(), dim=-1)
    return normal.cpu().numpy()  # type: ignore[no-any-return]


def _reads_only_back(model: Any) -> bool:
    """Whether what stands after the end token cannot change a text's vector.

    True for open_clip's plain CLIP: attention looks back only, and the end token is taken.
    """
    return (
        type(model).__name__ == "CLIP"
        and model.attn_mask is not None
        and model.text_pool_type in ("argmax", "eos")
    )


def cut_padding(tokens: Any) -> Any:
    """Token ids [n, length] without the columns that are padding (0) in every row."""
    return tokens[:, : int((tokens != 0).sum(1).max())]


def encode_tokens(model: Any, tokens: Any) -> Any:
    """`model.encode_text` for sequences shorter than the model's context; not normalised.

    Only for models that `_reads_only_back`. Differentiable.
    """
    length = tokens.shape[1]
    kind = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(kind) + model.positional_embedding[:length].to(kind)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    if model.text_pool_type == "argmax":
        ends = tokens.argmax(dim=-1)  # the end token has the highest id
    else:
        ends = (tokens == model.text_eos_id).int().argmax(dim=-1)
    x = x[range(len(x)), ends]
    projection = model.text_projection
    if projection is None:
        return x
    return x @ projection if not callable(projection) else projection(x)


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
    precision: "auto" is bf16 where the processor or GPU computes in it, else fp32.
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
            precision=kind,
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
    return _wrap(loaded, tokenizer, kind, where)


def _wrap(loaded: Any, tokenizer: Any, kind: str, where: Any) -> Clip:
    import torch

    open_clip = import_open_clip()
    cfg = open_clip.transform.PreprocessCfg(**loaded.visual.preprocess_cfg)
    steps = open_clip.transform.image_transform_v2(cfg, is_train=False).transforms
    side = cfg.size if isinstance(cfg.size, int) else cfg.size[0]
    mean, std = (torch.tensor(values, device=where).view(3, 1, 1) for values in (cfg.mean, cfg.std))
    return Clip(
        model=loaded,
        tokenizer=tokenizer,
        # The last two steps are conversion to a tensor and normalisation: done by the batch.
        shape=steps[:-2],
        mean=mean,
        std=std,
        dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32),
        device=where,
        image_side=side,
        width=_width(loaded, tokenizer, where),
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


def precision_on(device: str) -> Precision:
    """What the precision "auto" is on a device: bf16 where it computes in it, else fp32."""
    import torch

    if torch.device(pick_device() if device == "auto" else device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"
