"""Towers with work left out give what open_clip's own code gives, whatever the architecture."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.score import fixed, towers
from pipeline.score.compat import import_open_clip

LENGTH, WORDS = 20, 300
END = WORDS - 1
VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": LENGTH, "vocab_size": WORDS, "width": 32, "heads": 2, "layers": 2}
TIMM = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token"}

# family -> class of open_clip, settings of the picture tower, settings of the text tower
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "OpenAI's": ("CLIP", {}, {}),
    "scaled layers, end by its id": ("CLIP", {"ls_init_value": 0.3}, {"pool_type": "eos"}),
    "MetaCLIP's text apart": ("CustomTextCLIP", {"pool_type": "avg"}, {}),
    "SigLIP": (
        "CustomTextCLIP",
        TIMM,
        {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    ),
    "CLIPA": (
        "CLIP",
        {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"no_causal_mask": True, "pool_type": "last"},
    ),
    "MobileCLIP's text": ("CustomTextCLIP", {}, {"no_causal_mask": True}),
    "first token": ("CustomTextCLIP", {}, {"pool_type": "first"}),
    "norms inside the blocks": ("CLIP", {"qk_norm": True}, {"scale_fc": True}),
    "pooled by attention": ("CLIP", {"attentional_pool": True, "attn_pooler_heads": 4}, {}),
    "class token at the end": ("CustomTextCLIP", {}, {"embed_cls": True, "pad_id": 0}),
    "residual network": ("CLIP", {"layers": (1, 1, 1, 1), "width": 16, "head_width": 32}, {}),
}
# Those whose end token is the last that matters; of the others a few could be cut too, and are not.
CUT = {
    "OpenAI's",
    "scaled layers, end by its id",
    "MetaCLIP's text apart",
    "pooled by attention",
    "residual network",
}


@lru_cache
def model(family: str) -> Any:
    import torch

    named, vision, text = FAMILIES[family]
    open_clip = import_open_clip()
    torch.manual_seed(3)
    # The layers do not come after the family's own: a timm tower takes none of the others.
    vision = vision if "timm_model_name" in vision else VISION | vision
    made = getattr(open_clip, named)(32, vision, TEXT | {"eos_id": END} | text)
    with torch.no_grad():
        for parameter in made.parameters():
            # Weights at their initial sizes leave most layers without effect.
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return made.eval()


@lru_cache
def tower(family: str, which: str) -> towers.Layer:
    """Of plain layers."""
    return (towers.text_tower if which == "text" else towers.image_tower)(model(family))


def pictures(family: str, count: int) -> Any:
    import torch

    side = 224 if FAMILIES[family][1] is TIMM else 32
    drawn = np.random.default_rng(0).normal(size=(count, 3, side, side))
    return torch.from_numpy(drawn).float()


def tokens(texts: list[list[int]]) -> Any:
    import torch

    rows = [[*text[: LENGTH - 1], END] for text in texts]
    return torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])


# Token 0 is padding, and an exclamation mark too.
TEXTS = st.lists(st.lists(st.integers(0, END - 1), max_size=LENGTH + 3), min_size=1, max_size=6)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15)
@given(texts=TEXTS)
def test_a_cut_text_has_the_vector_of_the_whole_one(family, texts):
    import torch

    given_tokens = tokens(texts)
    with torch.inference_mode():
        expected = model(family).encode_text(given_tokens)
        lengths = towers.lengths(model(family), given_tokens)
        found = tower(family, "text")(given_tokens[:, : int(lengths.max())])
    assert torch.allclose(found, expected, atol=2e-5)
    ends = torch.tensor([min(len(text), LENGTH - 1) + 1 for text in texts])
    assert torch.equal(lengths, ends if family in CUT else torch.full_like(ends, LENGTH))


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_have_the_vectors_of_open_clips_own_code(family):
    import torch

    pixels = pictures(family, 5)
    with torch.inference_mode():
        expected = model(family).encode_image(pixels)
        assert torch.allclose(tower(family, "image")(pixels), expected, atol=2e-5)
    assert not torch.equal(expected[0], expected[1])


@pytest.mark.skipif(not fixed.is_supported(), reason="no AVX2")
@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_point_layers_keep_the_vectors_of_every_architecture(family):
    import torch

    model.cache_clear()  # layers are replaced inside the model
    made = model(family)
    pixels = pictures(family, 9)
    texts = tokens([[7, 0, 8], [1], list(range(40, 60)), []])
    with torch.inference_mode():
        expected = made.encode_image(pixels), made.encode_text(texts)
        layer = fixed.layer_maker(1)
        found = (
            towers.image_tower(made, layer)(pixels),
            towers.text_tower(made, layer)(texts),
        )
    model.cache_clear()
    tower.cache_clear()
    for exact, rounded in zip(expected, found, strict=True):
        cosine = torch.nn.functional.cosine_similarity(exact, rounded)
        assert cosine.min() > 0.99999
        # Replaced they are: only a residual network has no layer that could be.
        assert family == "residual network" or not torch.equal(exact, rounded)


def test_a_shortcut_is_taken_where_it_should_be():
    plain = tower("OpenAI's", "image"), tower("OpenAI's", "text")
    assert plain[0] != model("OpenAI's").encode_image
    assert plain[1] != model("OpenAI's").encode_text
    assert tower("residual network", "image") == model("residual network").encode_image
    assert tower("class token at the end", "text") == model("class token at the end").encode_text


def test_a_text_tower_can_be_trained():
    import torch

    made = model("OpenAI's")
    given_tokens = tokens([[5, 6], [7]])
    for _ in range(2):  # a tower is made anew for every step: its layers hold parts of weights
        cut = given_tokens[:, : int(towers.lengths(made, given_tokens).max())]
        towers.text_tower(made)(cut).square().sum().backward()
        found = made.transformer.resblocks[-1].attn.in_proj_weight.grad.clone()
        made.zero_grad()
        made.encode_text(given_tokens).square().sum().backward()
        expected = made.transformer.resblocks[-1].attn.in_proj_weight.grad.clone()
        made.zero_grad()
        assert torch.allclose(found, expected, atol=1e-4)
