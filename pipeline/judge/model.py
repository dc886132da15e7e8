"""Models to train: any architecture of open_clip, from nothing, or one of the small ones here."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.score import clip, towers
from pipeline.score.compat import import_open_clip
from pipeline.score.shape import Shape

_MODELS = Path(__file__).parent / "models"
INCLUDED = tuple(sorted(path.stem for path in _MODELS.glob("*.json")))


def _register() -> None:
    open_clip = import_open_clip()
    clip.register_shipped()
    if not set(INCLUDED) <= set(open_clip.list_models()):
        open_clip.add_model_config(_MODELS)


def digest_of(name: str) -> str:
    """Names the architecture: of its configuration. Raises ConfigError for one nobody knows."""
    _register()
    config = import_open_clip().get_model_config(name)
    if config is None:
        raise ConfigError(
            f"judge.model = {name!r} is no architecture of open_clip, nor one of "
            f"{', '.join(INCLUDED)}; open_clip.list_models() names them all"
        )
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def create(name: str, seed: int, device: Any) -> tuple[Any, Any]:
    """A model with weights drawn by the seed, and its tokenizer.

    Raises ConfigError as `digest_of`, and where it cannot be made (a package that is missing).
    """
    import torch

    digest_of(name)
    open_clip = import_open_clip()
    # The pictures of the embedded web fill their frame: a crop would cut off what is spoken of.
    is_own = name in INCLUDED or name == clip.SHIPPED_MODEL
    torch.manual_seed(seed)
    try:
        with _unwarned():
            model = open_clip.create_model(
                name,
                pretrained=None,
                force_preprocess_cfg={"resize_mode": "squash"} if is_own else None,
            )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # noqa: BLE001 - a foreign architecture can fail in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ConfigError(f"judge.model = {name!r} cannot be made: {told}") from None
    return model.to(device), tokenizer


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without the warning that there are no weights, which is what is wanted."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def shape_of(model: Any) -> Shape:
    """What the model sees of a picture."""
    cfg = import_open_clip().transform.PreprocessCfg(**model.visual.preprocess_cfg)
    side = cfg.size if isinstance(cfg.size, int) else cfg.size[0]
    return Shape(side, cfg.resize_mode, cfg.interpolation == "bilinear", cfg.fill_color)


def scale_of(model: Any, device: Any) -> tuple[Any, Any]:
    """Mean and deviation of pixels from 0 to 1, by channel, as tensors [3, 1, 1]."""
    import torch

    cfg = model.visual.preprocess_cfg
    mean, std = (torch.tensor(cfg[k], device=device).view(3, 1, 1) for k in ("mean", "std"))
    return mean, std


def encoded(model: Any, pixels: Any, tokens: Any) -> tuple[Any, Any]:
    """Unit vectors of pictures and of texts, with gradients, float32 [n, width].

    Of a text tower that looks back only, tokens behind the longest text are left out.
    """
    import torch

    unit = torch.nn.functional.normalize
    pictures = unit(model.encode_image(pixels).float(), dim=-1)
    longest = int(towers.lengths(model, tokens).max())
    texts = unit(towers.text_tower(model)(tokens[:, :longest]).float(), dim=-1)
    return pictures, texts


def as_clip(model: Any, tokenizer: Any, device: Any) -> clip.Clip:
    """The model, as it is by now, as what embeds pictures and texts."""
    return clip.wrap(model.eval(), tokenizer, "fp32", device, towers.linear)
