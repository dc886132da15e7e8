"""Captions of hashtags and mentions."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionHashtags(Filter):
    """Share of words that are hashtags or mentions, at most `max_ratio`.

    A tag is # or @ and a letter, of any script; "#1" is a number. Words are what stands between
    spaces; of "#a#b" both are. An e-mail address is none.

    max_tags: of the number of tags. Off unless set.

    Source: Conceptual Captions' page (ai.google.com/research/ConceptualCaptions) names hashtags
    among the texts that do not describe and are removed. It gives no figure: 0.3 is ours, which
    leaves a sentence with a few tags behind it.
    """

    max_ratio: float = 0.3
    max_tags: int | None = None

    reads = ("caption",)
    measures = (
        column("caption_hashtags", pa.int32(), "hashtags and mentions"),
        column("caption_hashtag_ratio", pa.float64(), "of the words between spaces, 0 to 1"),
    )
    bound_settings = ("max_ratio", "max_tags")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.caption_kernels import count_tags

        text = Codepoints.of(batch.column("caption"))
        tags, shares = np.empty(text.rows, np.int32), np.empty(text.rows)
        count_tags(text.values, text.ends, class_table(), tags, shares)
        return [pa.array(tags), pa.array(shares)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("caption_hashtag_ratio", high=self.max_ratio)]
        if self.max_tags is not None:
            bounds.append(Bound("caption_hashtags", high=self.max_tags))
        return tuple(bounds)
