"""The included CLIP tells right captions from wrong ones; the ways to load a model; its inputs."""

import io
import json
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from pipeline.core import raw
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score import clip
from pipeline.score.clip import Clip
from pipeline.score.looker_processes import InProcesses
from pipeline.score.looks import Asked, InThreads, Looker
from pipeline.score.pictures import Stored, decoded_batches


@pytest.fixture(scope="module")
def model() -> Clip:
    return clip.load("pairmill-tiny", precision="fp32", device="cpu")


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_right_captions_are_more_similar_than_shuffled_ones(model, lang):
    rng = np.random.default_rng([2026, 11])
    scenes = [sample_scene(rng) for _ in range(400)]
    look = Looker((model.shape,))
    pixels = [look(Asked(jpeg(render(scene, 200, 150)))).pixels[0] for scene in scenes]
    pictures = model.embed_images(np.stack(pixels))
    texts = model.embed_texts([describe(scene, lang, rng) for scene in scenes])
    right = (pictures * texts).sum(1)
    wrong = (pictures * np.roll(texts, 1, axis=0)).sum(1)
    auc = (right[:, None] > wrong[None, :]).mean()
    assert auc >= 0.9


def test_vectors_do_not_depend_on_the_company_they_are_computed_in(model):
    texts = ["a red star", "a much longer caption of a green circle below two blue squares", "별"]
    together = model.embed_texts(texts, batch=8)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for i, text in enumerate(texts):
        assert np.allclose(model.embed_texts([text])[0], together[i], atol=1e-5)
    assert np.allclose(model.embed_texts(texts, batch=1), together, atol=1e-5)
    assert model.embed_texts([]).shape == (0, model.width)


def test_cutting_padding_gives_what_the_model_gives_on_whole_sequences(model):
    # An exclamation mark inside a word is token 0, as padding is.
    texts = ["a red star", "", "세모 " * 100, "x" * 1000, "!( a red star !( !( on blue"]
    assert 0 in model.tokenizer(texts[-1])[0][:5]
    whole = model.model.encode_text(model.tokenizer(texts)).detach()
    whole = (whole / whole.norm(dim=-1, keepdim=True)).numpy()
    assert np.allclose(model.embed_texts(texts), whole, atol=1e-5)


def test_pixels_are_those_of_the_models_own_transform(model):
    picture = Image.fromarray(render(sample_scene(np.random.default_rng(1)), 123, 77))
    open_clip = clip.import_open_clip()
    cfg = open_clip.transform.PreprocessCfg(**model.model.visual.preprocess_cfg)
    assert cfg.resize_mode == "squash"
    expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(picture)
    pixels = np.moveaxis(model.shape.pixels(picture), 2, 0) / np.float32(255)
    normalised = (pixels - model.mean.numpy()) / model.std.numpy()
    assert np.allclose(normalised, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("where", [InThreads, InProcesses])
def test_what_does_not_decode_costs_itself_only(model, tmp_path, where):
    good = [jpeg(render(sample_scene(np.random.default_rng(i)), 80, 60)) for i in range(5)]
    bodies = [good[0], b"", good[1], good[2][:300], b"GIF89a nothing", good[3], good[4]]
    store, stored = Store(str(tmp_path)), []
    with store.publish(raw.path(0)) as file:
        tar = raw.RawTar(file)
        for i, body in enumerate(bodies):
            place = raw.Place(bytes([i]) * 16, 0, 0, tar.append(bytes([i]) * 16, body), len(body))
            stored.append(Stored(bytes([i]), place))
    batches = [stored[i : i + 3] for i in range(0, len(stored), 3)]
    look = Looker((model.shape,))
    with closing(where(look, 2)) as looking:
        found = list(decoded_batches([model.shape.side], store, batches, looking))
    assert [batch.seen[0].ids for batch in found] == [[b"\0", b"\2"], [b"\5"], [b"\6"]]
    assert [batch.unreadable for batch in found] == [[b"\1"], [b"\3", b"\4"], []]
    for ids, pixels in (batch.seen[0] for batch in found):
        assert pixels.shape == (len(ids), model.shape.side, model.shape.side, 3)
        for content_id, picture in zip(ids, pixels, strict=True):
            assert np.array_equal(picture, look(Asked(bodies[content_id[0]])).pixels[0])


def test_another_architecture_loads_from_a_local_folder(tmp_path):
    import torch

    open_clip = clip.import_open_clip()
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear"}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    torch.manual_seed(1)
    weights = open_clip.CLIP(**config).state_dict()
    torch.save(weights, tmp_path / "open_clip_pytorch_model.bin")
    model = clip.load(f"local-dir:{tmp_path}", precision="fp32", device="cpu")
    assert (model.shape.side, model.width) == (32, 24)
    # The shorter side is resized and the middle cut out, as this model's settings say.
    picture = np.zeros((64, 200, 3), np.uint8)
    picture[:, 70:130] = 255
    pixels = model.shape.pixels(Image.fromarray(picture))
    assert pixels.shape == (32, 32, 3) and pixels[:, 2:-2].min() > 250
    assert np.isfinite(model.embed_images(pixels[None].copy())).all()
    assert torch.equal(model.model.token_embedding.weight, weights["token_embedding.weight"])


@pytest.mark.parametrize(
    ("name", "pretrained", "named"),
    [
        ("no-such-model", "openai", "no-such-model"),
        ("ViT-B-32", "no_such_tag", "no_such_tag"),
        ("ViT-B-32", "/nowhere/weights.pt", "/nowhere/weights.pt"),
        ("local-dir:/nowhere", "", "/nowhere"),
    ],
)
def test_what_cannot_be_loaded_is_named(name, pretrained, named):
    with pytest.raises(InputError, match=named):
        clip.load(name, pretrained, device="cpu")


def test_a_file_that_is_not_weights_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"score\.pretrained"):
        clip.load("pairmill-tiny", str(path), device="cpu")


def test_open_clip_imports_in_a_fresh_process_and_twice():
    code = (
        "from pipeline.score.compat import import_open_clip as i;"
        "assert i() is i(); import torch, torchvision;"
        "assert torch.ops.torchvision.nms is not None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
