"""Pictures with known content: coloured shapes on patterned backgrounds, drawn from a seed.

A `Scene` says what can be seen and described (shapes, colours, counts, sizes, relation,
background) and, by its `nuisance` seed, what cannot (lighting, phases, exact places). The lighting
is a sum of the 63 lowest cosines of the picture with random signs: those signs are what a DCT hash
keeps, so two scenes are as far apart in Hamming distance as random bits are, while resizing or
recompressing one scene hardly moves it.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.fakeweb import shapes

Size = Literal["small", "large"]
# Where the first group lies as seen from the second; None with a single group.
Relation = Literal["above", "below", "left", "right"]
Pattern = Literal["striped", "checked", "dotted", "wavy", "cloudy"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 30, 36),
    "orange": (245, 130, 20),
    "yellow": (248, 220, 40),
    "green": (36, 150, 60),
    "blue": (30, 80, 215),
    "purple": (125, 45, 165),
    "pink": (250, 140, 185),
    "brown": (120, 72, 36),
    "grey": (128, 128, 130),
    "black": (18, 18, 22),
    "white": (246, 246, 244),
}
# Black and white have no room for lighter and darker shades of themselves.
BACKGROUND_COLOURS = tuple(name for name in COLOURS if name not in ("black", "white"))
PATTERNS: tuple[Pattern, ...] = ("striped", "checked", "dotted", "wavy", "cloudy")
RELATIONS: tuple[Relation, ...] = ("above", "below", "left", "right")

_SIDE = {"small": (0.15, 0.19), "large": (0.28, 0.33)}  # of the picture's shorter side
_LIGHT = 15.0  # amplitude of one cosine of the lighting, in grey levels
_PATTERN = {"striped": 46.0, "checked": 42.0, "dotted": 60.0, "wavy": 48.0, "cloudy": 0.0}
_OVERSAMPLING = 4  # shapes are drawn this much larger and averaged down


@dataclass(frozen=True)
class Group:
    """`count` equal things. shape: a key of `shapes.OUTLINES` or one of `shapes.GLYPHS`."""

    shape: str
    colour: str
    count: int
    size: Size


@dataclass(frozen=True)
class Scene:
    """What is in a picture; equal scenes render to equal pixels.

    groups: one or two. relation: where the first is as seen from the second, None for one group.
    nuisance: seed of all that captions do not speak of.
    """

    groups: tuple[Group, ...]
    relation: Relation | None
    pattern: Pattern
    background: str
    nuisance: int


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random scene. No group has the background's colour, and no two are alike in colour."""
    colours = [str(c) for c in rng.permutation(list(COLOURS))]
    background = next(c for c in colours if c in BACKGROUND_COLOURS)
    colours.remove(background)
    things = (*shapes.OUTLINES, "letter", "digit")
    kinds = rng.choice(len(things), size=2, replace=False)
    groups = tuple(
        _sample_group(rng, things[kind], colour)
        for kind, colour in zip(kinds[: 1 + int(rng.random() < 0.7)], colours, strict=False)
    )
    return Scene(
        groups=groups,
        relation=RELATIONS[int(rng.integers(4))] if len(groups) == 2 else None,
        pattern=PATTERNS[int(rng.integers(len(PATTERNS)))],
        background=background,
        nuisance=int(rng.integers(2**62)),
    )


def _sample_group(rng: np.random.Generator, thing: str, colour: str) -> Group:
    size: Size = "large" if rng.random() < 0.6 else "small"
    if thing in ("letter", "digit"):
        names = [g for g in shapes.GLYPHS if g.isdigit() == (thing == "digit")]
        return Group(names[int(rng.integers(len(names)))], colour, 1, "large")
    return Group(thing, colour, int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2])), size)


def render(scene: Scene, width: int, height: int) -> NDArray[np.uint8]:
    """Pixels of a scene, uint8 [height, width, 3], RGB. The same for the same arguments.

    Places and sizes are fractions of the picture, so other sizes show the same picture.
    """
    rng = np.random.default_rng(scene.nuisance)
    picture = _background(scene, width, height, rng)
    for group, places in zip(scene.groups, _places(scene, rng), strict=True):
        colour = _jitter(COLOURS[group.colour], rng)
        for x, y in places:
            low, high = _SIDE[group.size]
            radius = 0.5 * (low + (high - low) * rng.random()) * min(width, height)
            turn = math.radians(shapes.turn_limit(group.shape) * (2 * rng.random() - 1))
            _draw(picture, group.shape, (x * width, y * height), radius, turn, colour)
    return np.asarray(picture)


def _jitter(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    r, g, b = np.clip(np.array(colour) + 20 * (rng.random(3) - 0.5), 0, 255).astype(int).tolist()
    return r, g, b


def _background(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Shades of one colour: lighting plus pattern, looked up in a ramp of 256 colours.

    float64 throughout: the last bits of sine and matrix products differ between processors, and
    in float32 they would show in the rounded pixels.
    """
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    grey = _pattern(scene.pattern, x, y, rng)
    grey *= _PATTERN[scene.pattern]
    grey += _lighting(x, y, rng)
    grey += 128.5
    shade = np.clip(grey, 0, 255, out=grey).astype(np.uint8)
    base = np.array(_jitter(COLOURS[scene.background], rng), dtype=np.float64)
    level = np.arange(256)[:, None] / 255
    dark, light = 0.22 * base, 255 - 0.42 * (255 - base)
    ramp = np.where(
        level < 0.5, dark + (base - dark) * 2 * level, base + (light - base) * (2 * level - 1)
    )
    indexed = Image.fromarray(shade)
    indexed.putpalette(np.rint(ramp).astype(np.uint8).tobytes())
    return indexed.convert("RGB")


def _lighting(
    x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Smooth light and shade [len(y), len(x)]: cosines of 0 to 7 half periods on each axis.

    Amplitudes are kept away from zero, so that every sign is clear and survives recompression.
    """
    amplitude = (
        _LIGHT * (0.6 + 0.4 * rng.random((8, 8))) * np.where(rng.random((8, 8)) < 0.5, -1, 1)
    )
    amplitude[0, 0] = 0
    half_periods = np.pi * np.arange(8)
    on_y, on_x = np.cos(np.outer(y, half_periods)), np.cos(np.outer(x, half_periods))
    light: NDArray[np.float64] = on_y @ amplitude @ on_x.T
    return light


def _pattern(
    pattern: Pattern,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The pattern [len(y), len(x)], -1 to 1, of random period, direction and phase."""
    if pattern == "cloudy":
        return np.zeros((len(y), len(x)))
    angle = math.pi * rng.random()
    cycles = 5 + 4 * rng.random()
    phase_u, phase_v = 2 * math.pi * rng.random(2)
    turn = 2 * math.pi * cycles
    cos, sin = turn * math.cos(angle), turn * math.sin(angle)

    def wave(scale: float, down: bool, phase: float) -> NDArray[np.float64]:
        """sin(scale * u) along the direction, or across it; as outer products, to be fast."""
        on_x, on_y = (-sin * x, cos * y) if down else (cos * x, sin * y)
        on_x, on_y = scale * on_x + phase, scale * on_y
        both = np.outer(np.sin(on_y), np.cos(on_x))
        both += np.outer(np.cos(on_y), np.sin(on_x))
        return both

    if pattern == "striped":
        return _squash(wave(1, False, phase_u))
    if pattern == "wavy":
        u = 0.8 * (cos * x + phase_u + (sin * y)[:, None])
        return _squash(np.sin(u + 1.6 * wave(0.5, True, phase_v)))
    if pattern == "checked":
        return _squash(wave(0.6, False, phase_u) * wave(0.6, True, phase_v), 6)
    # Dots: bright where both waves are high.
    return _squash(wave(1, False, phase_u) + wave(1, True, phase_v) - 0.9)


def _squash(wave: NDArray[np.float64], gain: float = 3) -> NDArray[np.float64]:
    """Steepen a wave, in place, towards -1 and 1 without the jaggedness of a hard edge."""
    wave *= gain
    return np.clip(wave, -1, 1, out=wave)


def _places(scene: Scene, rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """Centres of every group's things, as fractions of width and height; none overlap."""
    if scene.relation is None:
        # A row or a column across the whole picture.
        across = rng.random() < 0.5
        return [_row(scene.groups[0], 0.5, 0.24, across, rng)]
    across = scene.relation in ("above", "below")
    first, second = (0.27, 0.73) if scene.relation in ("above", "left") else (0.73, 0.27)
    return [
        _row(group, centre, 0.05, across, rng)
        for group, centre in zip(scene.groups, (first, second), strict=True)
    ]


def _row(
    group: Group, centre: float, play: float, across: bool, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Centres of a group's things side by side (across) or one under the other."""
    cell = 1 / group.count
    slack = max(0.0, cell - _SIDE[group.size][1] - 0.02) * 0.8
    places = []
    for i in range(group.count):
        along = cell * (i + 0.5) + slack * (rng.random() - 0.5)
        beside = centre + play * (2 * rng.random() - 1)
        places.append((along, beside) if across else (beside, along))
    return places


def _draw(
    picture: Image.Image,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    turn: float,
    colour: tuple[int, int, int],
) -> None:
    """Draw one thing with a thin contrasting rim, its edges averaged from a larger drawing."""
    rim = max(0.6, 0.07 * radius)
    left, top = (math.floor(c - 1.5 * radius) for c in centre)
    side = math.ceil(3 * radius) + 1
    is_dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 110
    rim_colour = (240, 240, 238) if is_dark else (24, 24, 28)
    for reach, paint in ((radius + rim, rim_colour), (radius, colour)):
        mask = Image.new("L", (side * _OVERSAMPLING, side * _OVERSAMPLING))
        where = ((centre[0] - left) * _OVERSAMPLING, (centre[1] - top) * _OVERSAMPLING)
        # The rim is the same shape with everything moved outwards by its width.
        grow = (reach - radius) * _OVERSAMPLING
        shapes.draw(ImageDraw.Draw(mask), shape, where, radius * _OVERSAMPLING, turn, grow)
        picture.paste(paint, (left, top), mask.reduce(_OVERSAMPLING))
