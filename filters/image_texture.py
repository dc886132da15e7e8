"""Flat pictures."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class ImageTexture(Filter):
    """Texture of the picture, 0 (flat) to 100, at least `min_texture`.

    A flat picture shows nothing, and its perceptual hash says nothing either: all white ones are
    alike. The default drops only what has no texture at all.

    Source: Facebook's PDQ, "hashing" document, for the figure and its range; it trusts hashes
    from 50 on, a value for matching and not for training.
    """

    min_texture: int = 1

    reads = ("texture",)
    bound_settings = ("min_texture",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("texture", low=self.min_texture),)
