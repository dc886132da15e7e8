"""Captions that many different images share."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class CaptionBoilerplate(Filter):
    """Distinct images that carry the caption anywhere in the run, at most `max_images`.

    What stands under many different pictures ("Click to enlarge", "상품 이미지") describes none.

    Source: COYO-700M, README: texts that appear more than 10 times are dropped.
    """

    max_images: int = 10

    reads = ("caption_images",)
    bound_settings = ("max_images",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_images", high=self.max_images),)
