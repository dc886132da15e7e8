"""Pictures of text."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class CaptionOverlap(Filter):
    """Share of the picture's area that is rendered text, at most `max_text_area`.

    Where the words of a caption stand in its picture, a model learns to read them instead of to
    see. `text_area` is the number, 0 to 1, that a text detector of your own gives: set
    `score.pixel_functions.text_area`. docs/how-it-works.md shows one.

    Source: T-MARS (arXiv 2307.03132): text in 40% of LAION's pictures overlaps their captions;
    dropping all such pairs loses those that show something besides, so it masks the text and scores
    again. It states no share of the area: the default is ours, and drops only what is mostly text.
    """

    max_text_area: float = 0.5

    reads = ("text_area",)
    bound_settings = ("max_text_area",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixel_functions.text_area",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("text_area", high=self.max_text_area),)
