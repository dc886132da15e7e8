"""Train the small CLIP that knows the embedded web: python -m jobs.train_tiny_clip

Learns from scenes that no web shows, in both languages, on the processor, in minutes; writes
float16 weights and prints how well it tells right captions from shuffled ones on held-out scenes.
The same seed, thread count and processor give the same weights.
"""

import argparse
import io
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.fakeweb.captions import Lang, describe
from pipeline.fakeweb.pictures import Scene, render, sample_scene
from pipeline.judge.train import decayed
from pipeline.score import clip, towers
from pipeline.score.compat import import_open_clip

LANGS: tuple[Lang, ...] = ("en", "ko")
# Webs are made from seeds under 2**32; these streams are others.
IMAGE_SIDE = 60  # pixels, as in the model's architecture file
TRAINING_STREAM, HELD_OUT_STREAM = 2**40, 2**40 + 1


@dataclass(frozen=True)
class Examples:
    """Scenes with their pictures, uint8 [n, side, side, 3]."""

    scenes: list[Scene]
    pixels: NDArray[np.uint8]


def make_examples(count: int, stream: int, seed: int, side: int, disturb: bool) -> Examples:
    """Scenes rendered in many shapes and squashed to a square, as the model sees them.

    disturb: crop, rescale and recompress them mildly, as copies on the web are.
    """
    rng = np.random.default_rng([stream, seed])
    scenes = [sample_scene(rng) for _ in range(count)]
    pixels = np.empty((count, side, side, 3), np.uint8)
    for i, scene in enumerate(scenes):
        aspect = math.exp(rng.uniform(math.log(0.67), math.log(1.6)))
        height = round(88 / math.sqrt(aspect))
        picture = Image.fromarray(render(scene, round(height * aspect), height))
        if disturb:
            picture = _disturbed(picture, rng)
        pixels[i] = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
    return Examples(scenes, pixels)


def _disturbed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        left, top, right, bottom = rng.uniform(0, 0.06, 4)
        width, height = picture.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        picture = picture.crop(tuple(round(edge) for edge in box))
    if rng.random() < 0.5:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=int(rng.integers(35, 95)))
        picture = Image.open(data)
    return picture


def train(examples: Examples, epochs: int, batch: int, peak_rate: float, seed: int) -> Any:
    """A new model, trained with the contrastive loss in every language on each batch.

    Source of the loss: Radford et al. 2021, arXiv:2103.00020, figure 3.
    """
    open_clip = import_open_clip()
    clip.register_shipped()
    torch.manual_seed(seed)
    model = open_clip.create_model(clip.SHIPPED_MODEL)
    tokenizer = open_clip.get_tokenizer(clip.SHIPPED_MODEL)
    preprocess = model.visual.preprocess_cfg
    mean, std = (torch.tensor(preprocess[key]).view(3, 1, 1) for key in ("mean", "std"))
    optimizer = torch.optim.AdamW(decayed(model, 0.02), lr=peak_rate, betas=(0.9, 0.98))
    steps = epochs * (len(examples.scenes) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, steps, pct_start=0.1)
    rng = np.random.default_rng([TRAINING_STREAM, seed, 1])
    started, step = time.monotonic(), 0
    for _ in range(epochs):
        order = rng.permutation(len(examples.scenes))
        for begin in range(0, len(order) - batch + 1, batch):
            rows = order[begin : begin + batch]
            pixels = torch.from_numpy(examples.pixels[rows]).permute(0, 3, 1, 2).float()
            pictures = model.encode_image((pixels / 255 - mean) / std, normalize=True)
            loss = torch.zeros(())
            for lang in LANGS:
                texts = [describe(examples.scenes[i], lang, rng) for i in rows]
                tokens = tokenizer(texts)
                tokens = tokens[:, : int(towers.lengths(model, tokens).max())]
                loss = loss + _contrastive(model, pictures, tokens) / len(LANGS)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            step += 1
            if step % 50 == 0:
                minutes = (time.monotonic() - started) / 60
                print(f"step {step}/{steps}: loss {loss.item():.3f}, {minutes:.1f} min", flush=True)
    return model


def _contrastive(model: Any, pictures: Any, tokens: Any) -> Any:
    texts = towers.text_tower(model)(tokens)
    texts = torch.nn.functional.normalize(texts.float(), dim=-1)
    logits = model.logit_scale.exp() * pictures.float() @ texts.T
    target = torch.arange(len(tokens))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def held_out(model: clip.Clip, count: int, seed: int) -> dict[str, dict[str, float]]:
    """Measures per language on scenes never trained on; see `separation`."""
    examples = make_examples(count, HELD_OUT_STREAM, seed, model.shape.side, disturb=True)
    pictures = model.embed_images(examples.pixels)
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 1])
    measures: dict[str, dict[str, float]] = {}
    for lang in LANGS:
        texts = model.embed_texts([describe(scene, lang, rng) for scene in examples.scenes])
        measures[lang] = separation(pictures, texts)
    return measures


def separation(pictures: NDArray[np.float32], texts: NDArray[np.float32]) -> dict[str, float]:
    """How well similarity tells the right caption of each picture from the next picture's.

    auc: chance that a right pair is above a wrong one. top1_of_100: share of pictures whose own
    caption is the most similar among 100. Then percentiles of right and wrong similarities.
    """
    right = (pictures * texts).sum(1)
    wrong = (pictures * np.roll(texts, 1, axis=0)).sum(1)
    above = np.searchsorted(np.sort(wrong), right).sum() / (len(right) * len(wrong))
    hits = [
        (block @ texts[i : i + 100].T).argmax(1) == np.arange(100)
        for i in range(0, len(pictures) - 99, 100)
        for block in [pictures[i : i + 100]]
    ]
    return {
        "auc": float(above),
        "top1_of_100": float(np.mean(hits)),
        "right_p5": float(np.percentile(right, 5)),
        "right_median": float(np.median(right)),
        "wrong_median": float(np.median(wrong)),
        "wrong_p95": float(np.percentile(wrong, 95)),
    }


def save(model: Any, path: Path) -> None:
    """Write the weights as float16 safetensors."""
    from safetensors.torch import save_file

    state = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    save_file(state, str(path))


def main() -> None:
    """Train, save, and print the held-out measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=clip.SHIPPED_WEIGHTS)
    parser.add_argument("--measure-only", action="store_true", help="measure the weights in --out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.measure_only:
        print(f"rendering {args.scenes} scenes", flush=True)
        examples = make_examples(args.scenes, TRAINING_STREAM, args.seed, IMAGE_SIDE, disturb=True)
        model = train(examples, args.epochs, args.batch, args.peak_rate, args.seed)
        save(model, args.out)
    loaded = clip.load(
        clip.SHIPPED_MODEL, str(args.out), precision="fp32", device="cpu", threads=args.threads
    )
    for lang, measures in held_out(loaded, 2000, args.seed).items():
        print(lang, *(f"{name}={value:.4f}" for name, value in measures.items()))


if __name__ == "__main__":
    main()
