"""Outlines of the things in the pictures, in a unit circle, and how they are drawn as masks."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

Points = NDArray[np.float64]


def _polygon(corners: int, first_degrees: float, radius: float = 1.0) -> Points:
    angle = np.radians(first_degrees) + 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def _star(points: int, inner: float) -> Points:
    star = _polygon(2 * points, -90)
    star[1::2] *= inner
    return star


def _heart() -> Points:
    # Source: the heart curve, https://mathworld.wolfram.com/HeartCurve.html, scaled to radius 1.
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2], 1) / 16


def _crescent() -> Points:
    outer = np.radians(np.linspace(60, 300, 40))
    inner = np.radians(np.linspace(285, 75, 40))
    return np.concatenate(
        [
            np.stack([np.cos(outer) + 0.25, np.sin(outer)], 1),
            np.stack([0.86 * np.cos(inner) + 0.62, 0.86 * np.sin(inner)], 1),
        ]
    )


def _cross(arm: float) -> Points:
    quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
    turns = [quarter]
    for _ in range(3):
        turns.append(turns[-1] @ np.array([[0, 1], [-1, 0]]))
    return np.concatenate(turns)


def _flower() -> Points:
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 0.72 + 0.28 * np.cos(6 * angle)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


# Corners of each closed outline, y downwards.
OUTLINES: dict[str, Points] = {
    "circle": _polygon(64, 0, 0.95),
    "square": _polygon(4, 45, 1.15),
    "triangle": _polygon(3, -90, 1.15) + np.array([0, 0.2]),
    "star": _star(5, 0.42) * 1.1,
    "heart": _heart(),
    "cross": _cross(0.33),
    "diamond": _polygon(4, 0) * [0.72, 1.15],
    "crescent": _crescent(),
    "flower": _flower() * 1.05,
    "arrow": np.array(
        [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)]
    ),
    "ring": _polygon(64, 0, 0.95),
}
_HOLE = 0.5  # of a ring's radius

# Strokes of each letter and digit, as polylines in [-0.7, 0.7] by [-1, 1].
_STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "A": [[(-0.7, 1), (0, -1), (0.7, 1)], [(-0.4, 0.35), (0.4, 0.35)]],
    "E": [[(0.6, -1), (-0.6, -1), (-0.6, 1), (0.6, 1)], [(-0.6, 0), (0.45, 0)]],
    "H": [[(-0.65, -1), (-0.65, 1)], [(0.65, -1), (0.65, 1)], [(-0.65, 0), (0.65, 0)]],
    "K": [[(-0.6, -1), (-0.6, 1)], [(0.65, -1), (-0.5, 0.1)], [(-0.2, -0.1), (0.7, 1)]],
    "L": [[(-0.55, -1), (-0.55, 1), (0.6, 1)]],
    "T": [[(-0.7, -1), (0.7, -1)], [(0, -1), (0, 1)]],
    "X": [[(-0.7, -1), (0.7, 1)], [(0.7, -1), (-0.7, 1)]],
    "Z": [[(-0.65, -1), (0.65, -1), (-0.65, 1), (0.65, 1)]],
    "1": [[(-0.4, -0.6), (0.05, -1), (0.05, 1)], [(-0.4, 1), (0.5, 1)]],
    "2": [[(-0.6, -0.6), (-0.3, -1), (0.3, -1), (0.6, -0.6), (0.5, -0.1), (-0.6, 1), (0.65, 1)]],
    "4": [[(0.3, 1), (0.3, -1), (-0.65, 0.4), (0.7, 0.4)]],
    "7": [[(-0.6, -1), (0.6, -1), (-0.15, 1)]],
}
GLYPHS = tuple(_STROKES)
_STROKE = 0.36  # width of a stroke, of the radius


def turn_limit(shape: str) -> float:
    """Up to how many degrees a thing may be turned and still be what it is called."""
    if shape in ("arrow", "flower", "star", "crescent"):
        return 180
    return 8 if shape in GLYPHS else 14


def draw(
    canvas: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    turn: float,
    grow: float,
) -> None:
    """Fill a thing in an "L" mask. centre, radius, grow: pixels; turn: radians.

    grow: how much wider than itself it is drawn, on every side.
    """
    cos, sin = math.cos(turn), math.sin(turn)
    rotation = np.array([[cos, sin], [-sin, cos]])

    def placed(points: Points) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (radius * points @ rotation + centre).tolist()]

    if shape in _STROKES:
        width = round(_STROKE * radius + 2 * grow)
        for stroke in _STROKES[shape]:
            _stroke(canvas, placed(np.array(stroke)), width)
        return
    corners = placed(OUTLINES[shape])
    canvas.polygon(corners, fill=255)
    if grow:
        _stroke(canvas, [*corners, corners[0]], round(2 * grow))
    if shape == "ring":
        hole = _HOLE * radius - grow
        canvas.ellipse(
            (centre[0] - hole, centre[1] - hole, centre[0] + hole, centre[1] + hole), fill=0
        )


def _stroke(canvas: ImageDraw.ImageDraw, points: list[tuple[float, float]], width: int) -> None:
    """A polyline with round joints and ends."""
    canvas.line(points, fill=255, width=width)
    half = width / 2
    for x, y in points:
        canvas.ellipse((x - half, y - half, x + half, y + half), fill=255)
