"""Captions that many different images share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.languages import LANGUAGES, UNDETERMINED
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionBoilerplate(Filter):
    """Distinct images that carry the caption anywhere in the run, at most `max_images`.

    What stands under many different pictures ("Click to enlarge", "상품 이미지") describes none.
    How often an honest caption recurs grows with what the run holds of its language, so
    `max_images_by_language` sets other limits, e.g. `{ ko = 20 }`; a language that it names is
    judged by that limit alone. `max_domain_images` limits the images that carry the caption on the
    pages of one domain: many there and few elsewhere are a site's template. Off unless set.

    Source: COYO-700M, README: texts that appear more than 10 times are dropped.
    """

    max_images: int = 10
    max_images_by_language: Mapping[str, int] = field(default_factory=dict)
    max_domain_images: int | None = None

    reads = ("caption_images", "caption_lang")
    measures = (
        column(
            "caption_images_other",
            pa.int64(),
            "caption_images; 0 where max_images_by_language has a limit for the caption's language",
            unit="images",
        ),
        column(
            "caption_images_ratio",
            pa.float32(),
            "caption_images over that limit, above 1 is too many; 0 where there is none",
        ),
    )
    bound_settings = ("max_images", "max_domain_images")

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.max_images_by_language) - {*LANGUAGES, UNDETERMINED})
        if unknown:
            raise ValueError(f"max_images_by_language: {', '.join(unknown)} not known")
        limits = {"max_images": self.max_images, **self.max_images_by_language}
        if self.max_domain_images is not None:
            limits["max_domain_images"] = self.max_domain_images
        for name, limit in limits.items():
            if limit < 1:
                raise ValueError(f"{name} = {limit} is not 1 or more: it would drop every caption")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        images = batch.column("caption_images")
        if not self.max_images_by_language:
            return [images, pa.array(np.zeros(batch.num_rows, np.float32))]
        listed = pa.array(list(self.max_images_by_language))
        limits = pa.array(list(self.max_images_by_language.values()), pa.float64())
        limit = limits.take(pc.index_in(batch.column("caption_lang"), listed))
        ratio = pc.divide(images.cast(pa.float64()), limit)
        return [
            pc.if_else(pc.is_valid(limit), pa.scalar(0, pa.int64()), images),
            pc.fill_null(ratio, 0.0).cast(pa.float32()),
        ]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("caption_images", high=self.max_images)]
        if self.max_images_by_language:
            bounds = [
                Bound("caption_images_other", high=self.max_images),
                Bound("caption_images_ratio", high=1),
            ]
        if self.max_domain_images is not None:
            bounds.append(Bound("caption_domain_images", high=self.max_domain_images))
        return tuple(bounds)
