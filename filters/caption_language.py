"""Language of the caption."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.languages import LANGUAGES, UNDETERMINED
from pipeline.core.tables import column

_KNOWN = frozenset({*LANGUAGES, UNDETERMINED})


@dataclass(frozen=True)
class CaptionLanguage(Filter):
    """Whether the caption's language is one of the wanted `languages` (empty: any).

    `extract` identifies the language and stores it with its confidence. A caption of a confidence
    under `min_probability` counts as `und`, which is allowed only when listed or when `languages`
    is empty.

    Source: a language allow-list is how COYO-700M (cld3, English) and DataComp (arXiv 2304.14108,
    fastText or cld3) choose captions.
    """

    languages: tuple[str, ...] = ()
    min_probability: float = 0.2

    reads = ("caption_lang", "caption_lang_confidence")
    measures = (column("is_language_allowed", pa.int8(), "1: the language is one of those wanted"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.languages) - _KNOWN)
        if unknown:
            raise ValueError(
                f"languages: {', '.join(unknown)} not known; allowed: {', '.join(sorted(_KNOWN))}"
            )
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability = {self.min_probability} is not within 0 and 1")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        if not self.languages:
            return [pa.array(np.ones(batch.num_rows, np.int8))]
        is_sure = pc.greater_equal(
            batch.column("caption_lang_confidence"), pa.scalar(self.min_probability, pa.float32())
        )
        language = pc.if_else(is_sure, batch.column("caption_lang"), UNDETERMINED)
        return [pc.is_in(language, pa.array(self.languages)).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_language_allowed", low=1),)
