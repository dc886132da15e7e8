"""Pictures of evaluation sets."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class EvaluationMatch(Filter):
    """Only pictures that no evaluation set of `match.lists` holds are kept.

    A model that has seen the pictures it is tested on is measured wrongly. `match` finds them by
    digest and by perceptual hash, within the radius of the list.

    Source: DataComp (arXiv 2304.14108), section 3.2 and appendix F, removes near-duplicates of its
    evaluation sets, about 3% of the pool; COYO-700M removes those of ImageNet, Flickr30K, COCO
    and Conceptual Captions by perceptual hash.
    """

    reads = ("evaluation_list",)
    measures = (column("is_evaluation_match", pa.int8(), "1: an evaluation set holds the picture"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pc.is_valid(batch.column("evaluation_list")).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_evaluation_match", high=0),)
