"""Captions in capitals."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionCase(Filter):
    """Share of upper-case letters, at most `max_upper_ratio`.

    What is all in capitals is a heading, a button or shouting. Only letters that have a case
    count, so that Korean, Chinese and Arabic never fail; a caption with fewer than `min_letters`
    of them has the shares 0, as "BMW X5" should.

    max_capitalised_ratio: of words that begin in upper case; headlines have 1. Off unless set.
    first_capital: whether a caption whose first letter is a lower-case one is dropped. Off unless
        set; most captions of the web start in lower case.

    Source: Conceptual Captions (Sharma et al. 2018), section 3: too high a share of capitalised
    words, and a first word that is not capitalised. It gives no figure: 0.8 and 12 letters are
    ours; Conceptual 12M (arXiv 2102.08981) gave the rules up.
    """

    max_upper_ratio: float = 0.8
    max_capitalised_ratio: float | None = None
    first_capital: bool = False
    min_letters: int = 12

    reads = ("caption",)
    measures = (
        column("caption_upper_ratio", pa.float64(), "upper case among letters with a case, 0 to 1"),
        column("caption_capitalised_ratio", pa.float64(), "words that begin so, 0 to 1"),
        column("starts_with_lower_case", pa.int8(), "1: the first letter is a lower-case one"),
    )
    bound_settings = ("max_upper_ratio", "max_capitalised_ratio", "first_capital")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.caption_kernels import measure_case

        text = Codepoints.of(batch.column("caption"))
        upper, capitalised = np.empty(text.rows), np.empty(text.rows)
        low = np.empty(text.rows, np.int8)
        least = self.min_letters
        measure_case(text.values, text.ends, class_table(), least, upper, capitalised, low)
        return [pa.array(upper), pa.array(capitalised), pa.array(low)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("caption_upper_ratio", high=self.max_upper_ratio)]
        if self.max_capitalised_ratio is not None:
            bounds.append(Bound("caption_capitalised_ratio", high=self.max_capitalised_ratio))
        if self.first_capital:
            bounds.append(Bound("starts_with_lower_case", high=0))
        return tuple(bounds)
