"""Other architectures of open_clip load and embed as open_clip itself does; what tells models apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score import clip, models
from pipeline.score.models import Spec

VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
# As the published ones, but small: the kinds of towers, pooling and inputs are theirs.
SMALL: dict[str, dict[str, Any]] = {
    "SigLIP": {  # ViT-B-16-SigLIP.json: a tower of timm, text that looks both ways
        "embed_dim": 48,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 224,
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": TEXT | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "CoCa": {  # coca_ViT-B-32.json: two outputs of each tower, a class token behind the text
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 4}
        | {"output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32}
        | {"heads": 2, "layers": 1, "attn_pooler_heads": 4},
    },
    "ResNet": {  # RN50.json: a convolutional tower
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
}  # fmt: skip
CLASSES = {"SigLIP": "CustomTextCLIP", "CoCa": "CoCa", "ResNet": "CLIP"}


def write_model(folder: Path, name: str) -> Any:
    """A folder as open_clip publishes one, with random weights; the model."""
    import torch

    folder.mkdir(exist_ok=True)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"}
    config = {"model_cfg": SMALL[name], "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    settings = {k: v for k, v in SMALL[name].items() if k != "custom_text"}
    made = getattr(clip.import_open_clip(), CLASSES[name])(**settings)
    torch.save(made.state_dict(), folder / "open_clip_pytorch_model.bin")
    return made.eval()


@pytest.mark.parametrize("name", SMALL)
def test_an_architecture_embeds_as_open_clip_does(tmp_path: Path, name: str) -> None:
    import torch

    own = write_model(tmp_path, name)
    spec = Spec("other", f"local-dir:{tmp_path}", precision="fp32")
    loaded: Any = models.load(spec, "cpu", 1)
    rng = np.random.default_rng(2)
    pictures = [Image.fromarray(render(sample_scene(rng), 60, 50)) for _ in range(3)]
    texts = ["a red star", "two blue squares above a much longer caption of many words", "별 하나"]
    pixels = np.stack([loaded.shape.pixels(picture) for picture in pictures])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = own.encode_image((x - 0.5) / 0.5), own.encode_text(loaded.tokenizer(texts))
    for found, wanted in zip((loaded.embed_images(pixels), loaded.embed_texts(texts)), expected):
        unit = torch.nn.functional.normalize(wanted, dim=-1).numpy()
        assert found.dtype == np.float32 and np.allclose(found, unit, atol=1e-5)


def test_a_text_tower_of_another_library_loads_or_says_what_is_missing(tmp_path: Path) -> None:
    """As xlm-roberta-base-ViT-B-32.json, from a folder: nothing is asked of the network."""
    config = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "pad_token_id": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 16, "model_type": "xlm-roberta"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path)}
    text |= {"hf_pooler_type": "mean_pooler", "hf_model_pretrained": False}
    model = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    published = {"model_cfg": model, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(published))
    (tmp_path / "weights.bin").write_bytes(b"none")
    with pytest.raises(InputError, match=r"score\.models\.ko\.model = 'local-dir:") as told:
        clip.load(f"local-dir:{tmp_path}", device="cpu", prefix="models.ko.")
    try:
        import transformers  # noqa: F401
    except ModuleNotFoundError:
        assert "pip install transformers" in str(told.value)


@pytest.mark.parametrize(
    ("model", "tag"), [("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"), ("hf-hub:a/b", "")]
)
def test_a_hub_tag_without_a_network_is_told(model: str, tag: str) -> None:
    with pytest.raises(InputError, match=r"score\.models\.x\.model.*cannot be loaded.*offline"):
        clip.load(model, tag, device="cpu", prefix="models.x.")


def test_the_identity_is_that_of_the_weights_and_not_of_where_they_lie(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    base = Spec("a", "ViT-B-32", str(one), "fp32")
    assert base.identity() == Spec("b", "ViT-B-32", str(two), "fp32", "models.b.").identity()
    assert base.identity() != Spec("a", "ViT-B-32", str(one), "bf16").identity()
    assert base.identity() != Spec("a", "ViT-B-16", str(one), "fp32").identity()
    two.write_bytes(b"others!")
    assert base.identity() != Spec("a", "ViT-B-32", str(two), "fp32").identity()
    tag = Spec("a", "ViT-B-32", "openai", "fp32").identity()
    assert tag == {"model": "ViT-B-32", "weights": "openai", "precision": "fp32"}
    assert tag != Spec("a", "ViT-B-32", "laion400m_e31", "fp32").identity()


def test_the_identity_of_a_folder_is_of_weights_and_architecture(tmp_path: Path) -> None:
    specs = []
    for name in ("here", "there"):
        write_model(tmp_path / name, "ResNet")
        specs.append(Spec("a", f"local-dir:{tmp_path / name}", precision="fp32"))
    assert specs[0].identity() == specs[1].identity()
    config = tmp_path / "there/open_clip_config.json"
    config.write_text(config.read_text().replace("squash", "shortest"))
    assert specs[0].identity() != specs[1].identity()


def test_a_torchscript_file_is_told_by_its_input_too(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"script")
    scale = (320, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    base = Spec("copy", str(tmp_path / "net.pt"), precision="auto", scale=scale, captions=False)
    assert base.identity() == base.resolved("bf16").identity()  # it runs in float32 anyway
    other = Spec("copy", str(tmp_path / "net.pt"), scale=(288, *scale[1:]), captions=False)
    assert base.identity() != other.identity()
