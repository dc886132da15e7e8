"""Near-duplicates of a kept picture."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class NearDuplicate(Filter):
    """Only pictures that represent their near-duplicates are kept.

    `is_representative` is found by `decide`, among the pairs that pass every other bound: 1 for
    the survivors of a greedy independent set over the edges of `match` and `cluster`, else 0. What
    an earlier release holds is 0. `decide.captions` can keep a pair's caption with the picture that
    its own gives way to; then it is 1 too.

    Source: SemDeDup (arXiv 2303.09540): half of LAION-440M can go as duplicates with hardly a
    loss; "On the De-duplication of LAION-2B" (arXiv 2303.12733) finds about 30% duplicates.
    """

    reads = ()

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_representative", low=1),)
