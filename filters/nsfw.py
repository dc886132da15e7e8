"""Pictures that are not safe for work."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Nsfw(Filter):
    """Probability that the picture is not safe for work, at most `max_score`.

    `[score.heads.nsfw]` measures it: LAION's CLIP-based NSFW detector on ViT-L/14 or ViT-B/32.

    Source: DataComp (arXiv 2304.14108, appendix on NSFW filtering): pictures over 0.1 by this
    detector on ViT-L/14 are dropped. data-juicer and NeMo Curator drop from 0.5 on by default, as
    COYO-700M does by other detectors.
    """

    max_score: float = 0.1

    reads = ("nsfw_score",)
    bound_settings = ("max_score",)
    needs: ClassVar[tuple[str, ...]] = ("score.heads.nsfw",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("nsfw_score", high=self.max_score),)
