"""Reasons to drop a pair: how often each comes first, alone, at all and with which others.

All from one short table: how many pairs have exactly which reasons, in which order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

Row = tuple[str, str, str, float]
Patterns = Mapping[tuple[str, ...], int]
_SETS_KEPT = 200


def patterns() -> str:
    """DuckDB's SQL of the patterns: reasons, rows; and of these the rows whose caption was handed
    over: moved. Grouped by a hash of 64 bits, as lists are slow to group."""
    return (
        "SELECT any_value(reasons) AS reasons, count(*) AS rows, "
        "count_if(is_kept AND picture_id <> image_id) AS moved "
        "FROM decisions GROUP BY hash(reasons)"
    )


def reason_rows(found: Patterns) -> Iterator[Row]:
    """The figures 'reason' (first, alone, at_all), 'joint_reason' and 'reason_set', whose buckets
    are the reasons of a pair, by name, separated by spaces."""
    first: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    joint: Counter[tuple[str, str]] = Counter()
    sets: Counter[str] = Counter()
    for reasons, rows in found.items():
        if not reasons:
            continue
        first[reasons[0]] += rows
        sets[" ".join(sorted(reasons))] += rows
        if len(reasons) == 1:
            alone[reasons[0]] += rows
        for a in reasons:
            for b in reasons:
                joint[a, b] += rows
    for (a, b), rows in joint.items():
        yield "joint_reason", a, b, float(rows)
        if a == b:
            yield "reason", "at_all", a, float(rows)
    for series, counts in (("first", first), ("alone", alone)):
        for reason, rows in counts.items():
            yield "reason", series, reason, float(rows)
    for reasons_told, rows in sorted(sets.items(), key=lambda i: (-i[1], i[0]))[:_SETS_KEPT]:
        yield "reason_set", "pairs", reasons_told, float(rows)


def kept_of(found: Patterns) -> int:
    """Pairs without a reason."""
    return found.get((), 0)


def combinations(sets: Mapping[str, float], most: int) -> Sequence[tuple[Sequence[str], float]]:
    """The sets of two reasons and more that most pairs have exactly: (reasons, pairs)."""
    several = [(name.split(" "), rows) for name, rows in sets.items() if " " in name]
    return sorted(several, key=lambda item: (-item[1], item[0]))[:most]
