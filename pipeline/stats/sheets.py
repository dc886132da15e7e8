"""What the report says and shows of duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.core.reasons import MatchRule
from pipeline.stats import charts, wording
from pipeline.stats.bars import bars
from pipeline.stats.duplicates import GROUP_EDGES

if TYPE_CHECKING:
    from pipeline.stats.page import Figures


@dataclass(frozen=True)
class Member:
    """A picture of a group of duplicates. told: how it is the same as the kept one."""

    picture: str | None
    size: str
    domain: str
    told: str = ""


@dataclass(frozen=True)
class Group:
    """A kept picture and some of those that gave way to it, the surest first.

    pictures: of the whole group, the kept one included.
    """

    kept: Member
    members: tuple[Member, ...]
    pictures: int

    @property
    def left_out(self) -> int:
        return self.pictures - 1 - len(self.members)


@dataclass(frozen=True)
class Sheet:
    """Groups of duplicates under one heading."""

    name: str
    groups: tuple[Group, ...]


def _group_label(low: str, edges: Sequence[int] = GROUP_EDGES) -> str:
    """The bin of group sizes that begins with `low`: "2", "6 to 9"."""
    after = [edge for edge in edges if edge > int(low)]
    if not after:
        return f"{charts.number(int(low))} and more"
    last = after[0] - 1
    return low if last == int(low) else f"{charts.number(int(low))} to {charts.number(last)}"


def overview(figures: "Figures") -> dict[str, Any]:
    """What there is to say of duplicates: cards, bars, edges by rule, chains."""
    groups = figures.series("duplicate_group", "groups")
    largest = max(figures.series("duplicate_group", "largest").values(), default=0)
    rules = figures.series("duplicate_rule", "pictures")
    sizes = bars(groups, order="label", most=len(GROUP_EDGES))
    gone, moved = sum(rules.values()), figures.value("rows", "rows", "moved")
    cards = [
        ("pictures that gave way", charts.number(gone), ""),
        ("groups", charts.number(sum(groups.values())), "around a kept picture"),
        ("largest group", charts.number(largest), "pictures"),
    ]
    if moved:
        cards.append(("captions handed over", charts.number(moved), "to the kept picture"))
    distances = [
        (wording.rule(rule), "bits", bars(counts, order="label"))
        for rule, counts in sorted(figures.all_series("duplicate_distance").items())
        if rule != MatchRule.SAME_FINGERPRINT
    ] + [
        (wording.rule(rule), "cosine", bars(counts, order="label"))
        for rule, counts in sorted(figures.all_series("duplicate_similarity").items())
    ]
    return {
        "cards": cards if rules else [],
        "groups": [replace(bar, label=_group_label(bar.label)) for bar in sizes],
        "rules": [replace(bar, label=wording.rule(bar.label)) for bar in bars(rules)],
        "distances": distances,
        "edges": [
            (wording.rule(rule), sum(fates.values()), fates)
            for rule, fates in sorted(figures.all_series("duplicate_edges").items())
        ],
        "chain": figures.series("duplicate_chain", "kept"),
    }
