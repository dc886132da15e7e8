"""Pictures that show what another one shows."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class SemanticDuplicate(Filter):
    """Cosine of CLIP's embeddings to the pictures before it in its cluster, at most 1 - `epsilon`.

    `semantic_similarity` is found by `cluster`, whose section says which of two alike comes first.
    The picture before may itself be dropped, by this bound or another. A larger epsilon drops more.

    Source: SemDeDup (arXiv 2303.09540): of LAION-440M 30% go at 0.00095 and 50% at 0.03; 37% may
    go without a loss. The default is that of NeMo Curator's tutorial, which lies between. Values
    are of OpenAI's CLIP ViT-L/14 there; another model's mean something else.
    """

    epsilon: float = 0.01

    reads = ("semantic_similarity",)
    bound_settings = ("epsilon",)
    needs: ClassVar[tuple[str, ...]] = ("cluster.semantic",)

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 2:
            raise ValueError(f"epsilon is {self.epsilon}, not between 0 and 2")
        super().__post_init__()

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("semantic_similarity", high=1 - self.epsilon),)
