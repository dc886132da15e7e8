"""Chains of near-duplicates: what whole connected components would have made of the kept pictures.

A dropped picture that is a neighbour of two kept ones links them. Taking components whole, as many
tools do, keeps one picture of all that are linked, however unlike its ends are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Id = bytes


@dataclass(frozen=True)
class Chains:
    """What links between kept pictures amount to.

    linked: kept pictures with a link. components: of these, connected ones taken together.
    largest_kept, largest_pictures: kept pictures of the largest component, and all its pictures
        with those that gave way. longest: kept pictures along the longest chain: from one end of a
        component to the other by the shortest way, at least (exact where links close no circle).
    """

    linked: int = 0
    components: int = 0
    largest_kept: int = 0
    largest_pictures: int = 0
    longest: int = 0

    @property
    def would_drop(self) -> int:
        """Kept pictures that components, taken whole, would have dropped."""
        return self.linked - self.components


def find_chains(links: Sequence[tuple[Id, Id]], pictures: Mapping[Id, int]) -> Chains:
    """Chains among kept pictures. Time and memory grow with the links.

    links: pairs of kept pictures; a pair may come more than once. pictures: how many pictures each
    kept one stands for, itself included; 1 for those it does not have.
    """
    beside: dict[Id, set[Id]] = {}
    for a, b in links:
        beside.setdefault(a, set()).add(b)
        beside.setdefault(b, set()).add(a)
    components: list[list[Id]] = []
    longest = 0
    seen: set[Id] = set()
    for start in sorted(beside):
        if start in seen:
            continue
        reached = _breadth_first(start, beside)
        seen.update(reached)
        components.append(list(reached))
        # From the far end of anywhere, the far end is at the other side.
        far = max(reached, key=lambda node: (reached[node], node))
        longest = max(longest, 1 + max(_breadth_first(far, beside).values()))
    sizes = [(sum(pictures.get(n, 1) for n in nodes), len(nodes)) for nodes in components]
    largest_pictures, largest_kept = max(sizes, default=(0, 0))
    return Chains(len(beside), len(components), largest_kept, largest_pictures, longest)


def _breadth_first(start: Id, beside: Mapping[Id, set[Id]]) -> dict[Id, int]:
    """Steps from the start, of every node that is reached."""
    steps = {start: 0}
    wave = [start]
    while wave:
        following = []
        for node in wave:
            for other in beside[node]:
                if other not in steps:
                    steps[other] = steps[node] + 1
                    following.append(other)
        wave = following
    return steps
