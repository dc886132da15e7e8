"""Held-out tasks of the embedded web: pictures that no web shows, with what is true of them.

backgrounds/  classification: one thing on a background, by its colour; 9 classes
shapes/       the same pictures, by the thing's shape; 11 classes
captions-en/  retrieval: scenes with a true caption in English
captions-ko/  the same of other scenes, in Korean
"""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.errors import ConfigError
from pipeline.fakeweb.captions import Lang, describe
from pipeline.fakeweb.images import size_of
from pipeline.fakeweb.pictures import (
    BACKGROUND_COLOURS,
    COLOURS,
    Group,
    Scene,
    render,
    sample_scene,
)
from pipeline.fakeweb.shapes import OUTLINES

# Webs are made from seeds under 2**32, and pairmill-tiny from the streams 2**40 and 2**40 + 1.
_STREAM = 2**40 + 2
_SETTINGS = "heldout.json"
_SHAPES = tuple(OUTLINES)
# Of a background: under every shape; of a shape: in every colour. The colour of the thing is no
# task: it is never the background's, so that who sees backgrounds alone is under chance.
_TEMPLATES = {
    "backgrounds": [f"a {shape} on a {{c}} background" for shape in _SHAPES],
    "shapes": [f"a {colour} {{c}}" for colour in COLOURS],
}


def write_heldout(folder: str, seed: int = 0, each: int = 4, scenes: int = 250) -> None:
    """Write the tasks, once: a folder that holds them with these settings is left as it is.

    each: pictures of every shape on every background. scenes: of each retrieval task. Raises
    ConfigError when the folder holds something else.
    """
    final = Path(folder)
    settings = {"format": 2, "seed": seed, "each": each, "scenes": scenes}
    told = final / _SETTINGS
    if told.is_file() and json.loads(told.read_text()) == settings:
        return
    if final.exists() and any(final.iterdir()) and not told.is_file():
        raise ConfigError(f"{folder} holds something else; name an empty folder")
    beside = final.with_name(f".writing-{final.name}-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    _things(beside, seed, each)
    for number, lang in enumerate(("en", "ko")):
        _captions(beside / f"captions-{lang}", seed, number, lang, scenes)  # type: ignore[arg-type]
    (beside / _SETTINGS).write_text(json.dumps(settings))
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)


def _things(folder: Path, seed: int, each: int) -> None:
    rng = np.random.default_rng([_STREAM, seed, 0])
    for name, lines in _TEMPLATES.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "templates.txt").write_text("\n".join(lines) + "\n")
    for background in BACKGROUND_COLOURS:
        for shape in _SHAPES:
            for number in range(each):
                data = _drawn(_one_thing(rng, background, shape), rng)
                file = f"{background}-{shape}-{number}.jpg"
                for path in (folder / "backgrounds" / background, folder / "shapes" / shape):
                    path.mkdir(exist_ok=True)
                    (path / file).write_bytes(data)


def _one_thing(rng: np.random.Generator, background: str, shape: str) -> Scene:
    """A scene with one thing of this shape on this background and nothing else."""
    while True:
        scene = sample_scene(rng)
        group = scene.groups[0]
        if group.colour != background:
            one = Group(shape, group.colour, 1, group.size)
            return Scene((one,), None, scene.pattern, background, scene.nuisance)


def _captions(folder: Path, seed: int, number: int, lang: Lang, scenes: int) -> None:
    rng = np.random.default_rng([_STREAM, seed, 1 + number])
    folder.mkdir(parents=True)
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(("image", "caption"))
    for index in range(scenes):
        scene = sample_scene(rng)
        (folder / f"{index}.jpg").write_bytes(_drawn(scene, rng))
        writer.writerow((f"{index}.jpg", describe(scene, lang, rng)))
    (folder / "captions.csv").write_text(rows.getvalue(), "utf-8", newline="")


def _drawn(scene: Scene, rng: np.random.Generator) -> bytes:
    """A JPEG, drawn and written as the web's own are."""
    width, height = size_of(rng)
    file = io.BytesIO()
    quality = int(rng.integers(80, 95))
    Image.fromarray(render(scene, width, height)).save(file, "JPEG", quality=quality)
    return file.getvalue()
