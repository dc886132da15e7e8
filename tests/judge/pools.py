"""Small pools: releases of plain pictures with captions that say their colour, or do not."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.ids import image_id, pair_id
from pipeline.stream import views
from pipeline.stream.views import View
from tests.shards import plain_release

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 80, 220), "white": (245,) * 3}


def picture(colour: str, seed: int, side: int = 32) -> bytes:
    """A JPEG of one colour with noise."""
    noise = np.random.default_rng(seed).normal(0, 12, (side, side, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def write(
    folder: Path, samples: int, caption: Callable[[str, int], str], per_shard: int = 50
) -> View:
    """A release, in order of its keys as a real one. caption: of a colour and a number."""
    made = []
    for number in range(samples):
        colour = list(COLOURS)[number % len(COLOURS)]
        text = caption(colour, number)
        key = pair_id(image_id(f"https://a.example/{number}.jpg"), text).hex()
        made.append((key, picture(colour, number), text.encode(), b"{}"))
    plain_release.write(folder, sorted(made), per_shard)
    return views.whole(str(folder))
