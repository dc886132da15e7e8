"""Watermarked pictures."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Watermark(Filter):
    """Probability that the picture carries a watermark, at most `max_score`.

    `[score.heads.watermark]` measures it, by any network of linear layers that was trained for it.

    Source: Stable Diffusion's model card: laion-improved-aesthetics has what LAION's metadata gives
    a watermark probability under 0.5. data-juicer, image_watermark_filter, drops from 0.8 on.
    """

    max_score: float = 0.5

    reads = ("watermark_score",)
    bound_settings = ("max_score",)
    needs: ClassVar[tuple[str, ...]] = ("score.heads.watermark",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("watermark_score", high=self.max_score),)
