"""Filters that are judged last of all, in the order of the recipe: among the pairs that pass every
other bound and stand for their near-duplicates. So a cap is filled with pairs that are released,
and a picture counts once for a concept, however often it was copied.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline.core.filter import Bound, Filter

IS_BALANCED = "is_balanced"
DOMAIN_RANK = "domain_rank"
PAGE_DOMAIN_RANK = "page_domain_rank"
LANGUAGE_RANK = "language_rank"
# What `decide` finds for them.
MEASURES = (IS_BALANCED, DOMAIN_RANK, PAGE_DOMAIN_RANK, LANGUAGE_RANK)


@dataclass(frozen=True)
class Cap(Filter):
    """At most `max_pairs` pairs of every group.

    by: which of a group's pairs stay. "hash": those that chance chooses, the same ones in every
        run with the same `seed`; "similarity": those whose caption fits best, by
        `clip_similarity`, of equal ones the smaller pair_id.
    group: the column of `measures` whose values are the groups; an empty text is none, and has no
    cap. rank: the measure that it is judged by, the place of a pair in its group, from 0.
    """

    max_pairs: int
    by: Literal["hash", "similarity"] = "hash"
    seed: int = 0

    group: ClassVar[str]
    rank: ClassVar[str]
    bound_settings: ClassVar[tuple[str, ...]] = ("max_pairs", "by", "seed")

    def __post_init__(self) -> None:
        _refuse_nothing(self.max_pairs)
        super().__post_init__()

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound(self.rank, high=self.max_pairs - 1),)


@dataclass(frozen=True)
class Draw(Filter):
    """About `max_pairs` pairs of every entry, and all of the entries that no more pairs have.

    An entry that c pairs have draws each of them with a chance of max_pairs / c, at most 1, by a
    hash of the pair's id, the entry and `seed`. A pair that any of its entries draws is kept, as is
    one without an entry.

    entries: the measure of int32 lists that has them, each once.
    """

    max_pairs: int
    seed: int = 0

    entries: ClassVar[str]
    bound_settings: ClassVar[tuple[str, ...]] = ("max_pairs", "seed")

    def __post_init__(self) -> None:
        _refuse_nothing(self.max_pairs)
        super().__post_init__()

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound(IS_BALANCED, low=1),)


def _refuse_nothing(max_pairs: int) -> None:
    if max_pairs < 1:
        raise ValueError(f"max_pairs = {max_pairs} is under 1: it would drop every pair")
