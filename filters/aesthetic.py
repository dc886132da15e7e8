"""How much people like the look of a picture."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Aesthetic(Filter):
    """Score of an aesthetic predictor, about 1 to 10, at least `min_score`.

    `[score.heads.aesthetic]` measures it: LAION's second predictor on ViT-L/14 embeddings, or the
    first. The second gives pictures of COYO-700M 1.2 to 8.1, on average 4.8.

    Source: LAION-Aesthetics V2 (laion.ai/blog/laion-aesthetics), whose subsets begin at 4.5, 4.75,
    5, 6, 6.25 and 6.5; the default is that of laion-improved-aesthetics, which Stable Diffusion was
    trained on (its model card). The first predictor's subsets begin at 7 and 8 instead.
    """

    min_score: float = 5.0

    reads = ("aesthetic_score",)
    bound_settings = ("min_score",)
    needs: ClassVar[tuple[str, ...]] = ("score.heads.aesthetic",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("aesthetic_score", low=self.min_score),)
