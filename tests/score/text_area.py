"""A user's own pixel scorer, as one would write it: how much of a picture is lines of small marks."""

import numpy as np


def text_area(pixels: np.ndarray) -> float:
    """Share of the 16 x 16 blocks with many dark-to-light turns both ways, as letters have."""
    grey = pixels.astype(np.int16).mean(2)
    height, width = (size // 16 * 16 for size in grey.shape)
    dark = grey[:height, :width] < 128
    turns = np.zeros_like(dark)
    turns[:, 1:] |= dark[:, 1:] != dark[:, :-1]
    turns[1:] |= dark[1:] != dark[:-1]
    blocks = turns.reshape(height // 16, 16, width // 16, 16).mean((1, 3))
    return float((blocks > 0.15).mean()) if blocks.size else 0.0


def face_count(pixels: np.ndarray) -> int | None:
    """Of a picture that is too small, nothing is known."""
    return None if min(pixels.shape[:2]) < 100 else 1


def fails_on_large(pixels: np.ndarray) -> float:
    if pixels.shape[0] > 64:
        raise RuntimeError("out of memory, say")
    return 1


def gives_text(pixels: np.ndarray) -> str:
    return "much"
