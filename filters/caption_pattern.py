"""Captions that a site fills a template for."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class CaptionPattern(Filter):
    """Pairs on the pages of one domain whose captions have the same pattern, at most `max_pairs`.

    A pattern is the caption with numbers masked, and names where the script has capitals: "Photo of
    Jane Doe at the Oscars 2020" is one of "photo of <name> at the <name> <number>". Sites fill such
    sentences by the thousand; the picture is described by what is masked, if by anything. A caption
    in which fewer than two words are left, or nothing is masked, counts as itself. `dedupe` counts
    them over the whole run, before anything is downloaded.

    Source: COYO-700M drops a text that appears more than 10 times; LAION-5B's and DataComp's pools
    keep such captions. A pattern on one domain is more telling than a text anywhere, and honest
    captions of a large site share some: the limit of 100 is ours.
    """

    max_pairs: int = 100

    reads = ("caption_pattern_pairs",)
    bound_settings = ("max_pairs",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_pairs < 1:
            raise ValueError(
                f"max_pairs = {self.max_pairs} is under 1: it would drop every caption"
            )

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_pattern_pairs", high=self.max_pairs),)
