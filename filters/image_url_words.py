"""Pictures whose address says that they are no content."""

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class ImageUrlWords(Filter):
    """Whether the image's URL holds one of `words`, anywhere and in any case.

    Logos, buttons, icons and widgets carry their kind in their names. A word inside another is
    found too ("silicon" has "icon"), as in the source.

    Source: OBELICS (arXiv 2306.16527), appendix A.1: images whose URL has "logo", "button",
    "icon", "plugin" or "widget" are dropped.
    """

    words: tuple[str, ...] = ("logo", "button", "icon", "plugin", "widget")

    reads = ("url",)
    measures = (column("has_url_word", pa.int8(), "1: the image's URL has one of the words"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.words or not all(self.words):
            raise ValueError(f"words = {list(self.words)}: give words that are not empty")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        pattern = "(?i)" + "|".join(re.escape(word) for word in self.words)
        found = pc.match_substring_regex(batch.column("url"), pattern)
        return [pc.fill_null(found, False).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("has_url_word", high=0),)
