"""Pairs of concepts that many captions name."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.balance import Draw
from pipeline.core.concept_lists import identity
from pipeline.core.filter import Bound
from pipeline.core.tables import column


@dataclass(frozen=True, kw_only=True)
class ConceptBalance(Draw):
    """About `max_pairs` pairs of each entry of a list of concepts, and all of the rarer ones.

    concepts: the list, on any fsspec path: MetaCLIP's metadata.json (a JSON array of strings), or
        text with an entry a line. What counts as naming an entry is said in `core.concepts`.
    max_pairs: an entry that c pairs name draws each of them with a chance of max_pairs / c, at
        most 1. A pair is kept when any entry that it names draws it. It is the same in every run
        with the same `seed`.
    ignore_case: whether case counts for nothing; it does in the source.
    keep_unmatched: whether pairs that name no entry stay; they go in the source.

    The entries that a caption names are measured once. Counts and draws are `decide`'s, after every
    other bound and near-duplicates: of the pairs that would be released otherwise.

    Source: MetaCLIP, "Demystifying CLIP Data" (arXiv 2309.16671): 500,000 entries from WordNet and
    Wikipedia; 20,000 pairs an entry for 400 million pairs, 170,000 for 2.5 billion; half of the
    English captions name an entry.
    """

    concepts: str
    max_pairs: int = 20_000
    ignore_case: bool = False
    keep_unmatched: bool = False

    entries = "concepts"
    reads = ("caption",)
    measures = (
        column("concepts", pa.list_(pa.int32()), "entries that the caption names: places in the "
               "list, from 0, ascending"),
        column("concept_count", pa.int32(), "how many these are"),
    )  # fmt: skip
    bound_settings = ("max_pairs", "keep_unmatched", "seed")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        # Here, as it brings compiled kernels.
        from pipeline.core.concepts import load

        named = load(self.concepts, self.ignore_case).named(batch.column("caption"))
        return [named, pc.list_value_length(named)]

    def bounds(self) -> tuple[Bound, ...]:
        matched = () if self.keep_unmatched else (Bound("concept_count", low=1),)
        return (*matched, *super().bounds())

    def measure_settings(self) -> dict[str, object]:
        """The content of the list rather than its path: other entries are another measure."""
        return {"concepts": identity(self.concepts), "ignore_case": self.ignore_case}
