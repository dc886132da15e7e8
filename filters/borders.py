"""Pictures in a plain frame."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Borders(Filter):
    """Share of the picture's area that is a plain frame, at most `max_share`.

    Bars above and below a film's picture, or a frame all around, are no part of what the caption
    describes, and models learn to draw them. What surrounds a product on white is no frame.

    Source: no published pipeline states a share. Precision and recall at the default, and from
    which depth on frames are found, are measured in docs/measurements.md.
    """

    max_share: float = 0.05

    reads = ("border_share",)
    bound_settings = ("max_share",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixels.borders",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("border_share", high=self.max_share),)
