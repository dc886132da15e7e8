"""Pixel scorers: pictures per core-second, and how well frames and collages are told from photos.

Photos are the real ones where they are, of which the constants were chosen on the others; else
rendered scenes. Frames and collages are made of them, scaled and compressed as the web does.
"""

import io
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from filters.borders import Borders
from filters.collage import Collage
from pipeline.core.filter import Filter
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score.pixels import FIELDS, Shipped
from tests.conftest import REAL_DATA

_SIDE = 384  # as download stores them
_PHOTOS = 1500
_CHOSEN_ON = 700  # the first of the shuffled photos
_MADE = 400  # of each kind
_REPEATS = 3

Box = tuple[int, int, int, int]


def photos() -> list[Image.Image]:
    """Those that no constant was chosen on, in a fixed order, as they are stored."""
    folders = ("photos-captions/*/*", "photos/clothing-cc0/*.jpg")
    files = [file for folder in folders for file in sorted(REAL_DATA.glob(folder))]
    files = [file for file in files if file.suffix.lower() in (".jpg", ".png")]
    if not files:
        rngs = (np.random.default_rng(seed) for seed in range(200))
        return [Image.fromarray(render(sample_scene(rng), 320, 240)) for rng in rngs]
    random.Random(21).shuffle(files)
    found = []
    for file in files[_CHOSEN_ON:_PHOTOS]:
        image = Image.open(file).convert("RGB")
        image.thumbnail((_SIDE, _SIDE))
        found.append(image)
    return found


def on_the_web(image: Image.Image, chance: random.Random) -> npt.NDArray[np.uint8]:
    """Scaled, perhaps, and compressed."""
    scale = chance.choice([1, 1, 0.9, 0.7])
    if scale != 1:
        size = max(int(image.width * scale), 1), max(int(image.height * scale), 1)
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=chance.choice([60, 75, 85, 92]))
    return np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))


def framed(chance: random.Random, pool: list[Image.Image]) -> Image.Image:
    """A photo with bars above and below, at the sides, all around, or on one side."""
    photo = chance.choice(pool)
    kind = chance.choice(["letterbox", "pillars", "around", "one"])
    tall, wide = (max(2, int(n * chance.uniform(0.03, 0.15))) for n in photo.size[::-1])
    left = wide if kind in ("pillars", "around") else 0
    top = tall if kind in ("letterbox", "around") else 0
    bottom = tall if kind == "one" else top
    colour = chance.choice([(0, 0, 0), (255, 255, 255), (128, 128, 128), (20, 30, 90)])
    size = photo.width + 2 * left, photo.height + top + bottom
    made = Image.new("RGB", size, colour)
    made.paste(photo, (left, top))
    return made


def collage(gutters: bool, chance: random.Random, pool: list[Image.Image]) -> Image.Image:
    """Two to four photos that fill a picture; between them nothing, or lines of 2 to 12 pixels."""
    width, height = chance.choice([(384, 384), (512, 384), (384, 512), (600, 400)])
    gap = chance.randint(2, 12) if gutters else 0
    x, y = int(width * chance.uniform(0.35, 0.65)), int(height * chance.uniform(0.35, 0.65))
    third = width // 3
    boxes: list[Box] = chance.choice(
        [
            [(0, 0, x, height), (x + gap, 0, width, height)],
            [(0, 0, width, y), (0, y + gap, width, height)],
            [(third * i + gap * (i > 0), 0, third * (i + 1), height) for i in range(3)],
            [(0, 0, x, height), (x + gap, 0, width, y), (x + gap, y + gap, width, height)],
            [
                (a, b, c, d)
                for a, c in ((0, x), (x + gap, width))
                for b, d in ((0, y), (y + gap, height))
            ],
        ]
    )
    made = Image.new("RGB", (width, height), chance.choice([(255, 255, 255), (0, 0, 0)]))
    for box in boxes:
        made.paste(_filling(chance.choice(pool), box[2] - box[0], box[3] - box[1]), box[:2])
    return made


def _filling(photo: Image.Image, width: int, height: int) -> Image.Image:
    scale = max(width / photo.width, height / photo.height)
    size = max(width, int(photo.width * scale) + 1), max(height, int(photo.height * scale) + 1)
    return photo.resize(size, Image.Resampling.LANCZOS).crop((0, 0, width, height))


def run() -> dict[str, Any]:
    """Cost of each scorer and of all, and what the filters borders and collage find."""
    chance = random.Random(5)
    pool = photos()
    plain = [np.asarray(photo) for photo in pool]
    figures: dict[str, Any] = {"workload": "pixels", "photos": len(plain)}
    for name in FIELDS:
        figures[f"{name}_us"] = round(_seconds(Shipped((name,)), plain) / len(plain) * 1e6)
    every = Shipped(tuple(FIELDS))
    started = time.perf_counter()
    seconds = _seconds(every, plain)
    values = _values(every, plain)
    makers: dict[str, tuple[Filter, Callable[..., Image.Image]]] = {
        "frames": (Borders(), framed),
        "collages with gutters": (Collage(), partial(collage, True)),
        "collages without": (Collage(), partial(collage, False)),
    }
    for label, (chosen, maker) in makers.items():
        made = [on_the_web(maker(chance, pool), chance) for _ in range(_MADE)]
        found, wrong = (_share_dropped(chosen, v) for v in (_values(every, made), values))
        figures[label] = {
            "recall": round(found, 3),
            "photos_dropped": round(wrong, 4),
        }
    for name, low in (("sharpness", 100), ("entropy", 3)):
        figures[f"{name}_under_{low}"] = round(float((values[name] < low).mean()), 4)
    return figures | {
        "items": len(plain),
        "seconds": seconds,
        "cpu_seconds": seconds,
        "seconds_in_all": round(time.perf_counter() - started, 1),
    }


def _seconds(scorer: Shipped, pictures: list[npt.NDArray[np.uint8]]) -> float:
    """CPU seconds of the fastest pass; the kernels are compiled before."""
    score = scorer.load()
    score(pictures[0])
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.process_time()
        for pixels in pictures:
            score(pixels)
        best = min(best, time.process_time() - started)
    return best


def _values(
    scorer: Shipped, pictures: list[npt.NDArray[np.uint8]]
) -> dict[str, npt.NDArray[np.float64]]:
    """What is found of each picture, by column."""
    score = scorer.load()
    rows = np.array([score(pixels) for pixels in pictures], np.float64)
    return {field.name: rows[:, i] for i, field in enumerate(scorer.fields)}


def _share_dropped(chosen: Filter, values: dict[str, npt.NDArray[np.float64]]) -> float:
    """By a filter with one upper bound."""
    (bound,) = chosen.bounds()
    assert bound.high is not None
    return float((values[bound.measure] > bound.high).mean())
