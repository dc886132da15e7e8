"""Likeness of picture and caption by CLIP."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class ClipSimilarity(Filter):
    """Cosine of the picture's and the caption's embeddings, within [low, high].

    The values of one model mean nothing for another: set `low` for the model of the recipe.
    A very high value can mean that the caption is written in the picture; `high` is open unless
    set.

    Source: LAION-5B (arXiv 2210.08402): at least 0.28 with ViT-B/32 for English.
    """

    low: float = 0.28
    high: float | None = None

    reads = ("clip_similarity",)
    bound_settings = ("low", "high")

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("clip_similarity", self.low, self.high),)
