"""Every precision gives the vectors of float32, as near as is demanded; a GPU those of the CPU."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score import clip, fixed
from pipeline.score.clip import Clip, Precision
from pipeline.score.compat import import_open_clip
from pipeline.score.looks import Asked, Looker
from tests.benchmarks.score import accuracy

COUNT = 40
LOWER: list[Precision] = ["bf16", "fp16", "int16"]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with the depth of ViT-B/32, narrow, of random weights."""
    import torch

    folder: Path = tmp_path_factory.mktemp("untrained")
    vision = {"image_size": 64, "layers": 12, "width": 128, "patch_size": 16, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 12}
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    torch.manual_seed(4)
    weights = import_open_clip().CLIP(**config).state_dict()
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    return f"local-dir:{folder}"


def embedded(model: Clip) -> list[np.ndarray]:
    """Vectors of pictures and captions."""
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng) for _ in range(COUNT)]
    bodies = []
    for scene in scenes:
        file = io.BytesIO()
        Image.fromarray(render(scene, 160, 120)).save(file, "JPEG")
        bodies.append(file.getvalue())
    look = Looker((model.shape,))
    looked = [look(Asked(body)) for body in bodies]
    pixels = np.stack([found.pixels[0] for found in looked if found])
    texts = [describe(scene, "ko" if i % 3 == 0 else "en", rng) for i, scene in enumerate(scenes)]
    started = [model.start_images(part, 16) for part in (pixels[:23], pixels[23:])]
    return [np.concatenate([wait() for wait in started]), model.embed_texts(texts, 16)]


def check_supported(precision: Precision) -> None:
    if precision == "int16" and not fixed.is_supported():
        pytest.skip("no AVX2")


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "random weights"])
def test_on_a_cpu(precision, trained, untrained):
    check_supported(precision)
    model = clip.SHIPPED_MODEL if trained else untrained
    exact = embedded(clip.load(model, precision="fp32", device="cpu"))
    found = embedded(clip.load(model, precision=precision, device="cpu"))
    figures = accuracy(found, exact)
    assert figures["least_image_cosine"] >= 0.999 and figures["least_text_cosine"] >= 0.999
    assert figures["similarity_apart"] <= 0.005
    assert not np.array_equal(found[0], exact[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "auto"])
def test_on_a_gpu(precision, untrained):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU that this build of torch can use")
    exact = embedded(clip.load(untrained, precision="fp32", device="cpu"))
    model = clip.load(untrained, precision=precision, device="cuda")
    accuracy(embedded(model), exact)
    # What is on its way is waited for, also when others follow it.
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    waiting = [model.start_images(pixels[i : i + 8]) for i in range(0, 64, 8)]
    found = np.concatenate([wait() for wait in reversed(waiting)][::-1])
    assert np.allclose(found, model.embed_images(pixels, 8), atol=1e-2)


def test_auto_is_what_the_processor_is_fast_at(untrained):
    import torch

    precision = clip.precision_on("cpu")
    loaded = clip.load(untrained, precision="auto", device="cpu")
    assert (loaded.dtype == torch.bfloat16) == (precision == "bf16")
    named = clip.load(untrained, precision=precision, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(loaded.embed_images(pixels), named.embed_images(pixels))


def test_a_precision_that_is_not_to_be_had_is_refused(monkeypatch, untrained):
    monkeypatch.setattr(fixed, "is_supported", lambda: False)
    with pytest.raises(InputError, match=r"score\.precision = 'int16'"):
        clip.load(untrained, precision="int16", device="cpu")
