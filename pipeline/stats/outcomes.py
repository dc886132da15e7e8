"""What a set of bounds keeps and drops, filter by filter, and how `what-if` tells it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.stats.charts import share


@dataclass(frozen=True)
class Drops:
    """What one filter drops of the pairs.

    marginal: pairs that it drops, whatever others do; exclusive: that it alone drops; cumulative:
    that it drops and none before it, in the order of the recipe. A late filter judges only pairs
    that all else lets pass, so its three numbers are the same.
    """

    filter: str
    marginal: int
    exclusive: int
    cumulative: int
    is_late: bool = False


@dataclass(frozen=True)
class Outcome:
    """label: what was set. pairs = kept + the cumulative drops of all filters."""

    label: str
    pairs: int
    kept: int
    drops: tuple[Drops, ...]


def drops(patterns: Mapping[int, int], bits: Sequence[tuple[str, int]]) -> tuple[Drops, ...]:
    """What filters drop that judge every pair.

    patterns: set of failed conditions, as bits -> how many pairs fail just these. bits: each filter
    and its bit, in the order of the recipe; bits that are not named play no part.
    """
    found = {name: [0, 0, 0] for name, _ in bits}
    for pattern, pairs in patterns.items():
        failed = [name for name, bit in bits if pattern >> bit & 1]
        for name in failed:
            found[name][0] += pairs
        if len(failed) == 1:
            found[failed[0]][1] += pairs
        if failed:
            found[failed[0]][2] += pairs
    return tuple(Drops(name, a, b, c) for name, (a, b, c) in found.items())


def render(outcomes: Iterable[Outcome]) -> str:
    """Tables for the console: what each setting keeps, then what each filter drops by it."""
    told = list(outcomes)
    width = max(len(outcome.label) for outcome in told) + 2
    lines = [f"{'':{width}}{'kept':>16} {'share':>7}"]
    for one in told:
        lines.append(f"{one.label:{width}}{one.kept:>16,} {share(one.kept, one.pairs):>7}")
    for one in told:
        lines += ["", f"{one.label}: {one.kept:,} of {one.pairs:,} pairs are kept"]
        lines.append(
            f"  {'filter':<28}{'marginal':>15}{'exclusive':>15}{'cumulative':>15}{'left':>16}"
        )
        left = one.pairs
        for drop in one.drops:
            left -= drop.cumulative
            name = drop.filter + (" *" if drop.is_late else "")
            counts = (drop.marginal, drop.exclusive, drop.cumulative)
            lines.append(f"  {name:<28}{''.join(f'{n:>15,}' for n in counts)}{left:>16,}")
    lines += ["", "marginal: drops by the filter, whatever others do; exclusive: by it alone;"]
    lines.append("cumulative: by it and none before it, in the order of the recipe.")
    if any(drop.is_late for one in told for drop in one.drops):
        lines.append("* judges only the pairs that all other filters let pass, as decide does.")
    return "\n".join(lines)
