"""Held-out tasks of the embedded web: pictures that no web shows, with what is true of them.

colours/      classification: one thing, which colour it has; 11 classes
shapes/       the same pictures, which shape it has; 11 classes
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
from pipeline.fakeweb.pictures import COLOURS, Group, Scene, render, sample_scene
from pipeline.fakeweb.shapes import OUTLINES

# Webs are made from seeds under 2**32, and pairmill-tiny from the streams 2**40 and 2**40 + 1.
_STREAM = 2**40 + 2
_SETTINGS = "heldout.json"
_SHAPES = tuple(OUTLINES)
# Of a colour: of every shape in it; of a shape: of every colour it has.
_TEMPLATES = {
    "colours": [f"a {{c}} {shape}" for shape in _SHAPES],
    "shapes": [f"a {colour} {{c}}" for colour in COLOURS],
}


def write_heldout(folder: str, seed: int = 0, each: int = 4, scenes: int = 250) -> None:
    """Write the tasks, once: a folder that holds them with these settings is left as it is.

    each: pictures of every shape in every colour. scenes: of each retrieval task. Raises
    ConfigError when the folder holds something else.
    """
    final = Path(folder)
    settings = {"format": 1, "seed": seed, "each": each, "scenes": scenes}
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
    for colour in COLOURS:
        for shape in _SHAPES:
            for number in range(each):
                data = _drawn(_one_thing(rng, colour, shape), rng)
                file = f"{colour}-{shape}-{number}.jpg"
                for path in (folder / "colours" / colour, folder / "shapes" / shape):
                    path.mkdir(exist_ok=True)
                    (path / file).write_bytes(data)


def _one_thing(rng: np.random.Generator, colour: str, shape: str) -> Scene:
    """A scene with one thing of this colour and shape in it and nothing else."""
    while True:
        scene = sample_scene(rng)
        if scene.background != colour:
            size = scene.groups[0].size
            return Scene(
                (Group(shape, colour, 1, size),),
                None,
                scene.pattern,
                scene.background,
                scene.nuisance,
            )


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
