"""Bar lists: counts by name, drawn as table rows with a bar each."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.stats import charts


@dataclass(frozen=True)
class Bar:
    """One line of a bar list. `kept` of `value` is drawn in the accent colour.

    width, kept_width: percent of the longest bar.
    """

    label: str
    value: float
    share: str
    width: float
    kept: float
    kept_width: float
    note: str = ""


def bars(
    counts: Mapping[str, float],
    kept: Mapping[str, float] | None = None,
    *,
    order: str = "value",
    whole: float | None = None,
    notes: Mapping[str, str] | None = None,
    most: int = 60,
) -> list[Bar]:
    """Bars of the counts, longest first or (order 'label') by number; the rest is one last bar."""
    if order == "label":
        items = sorted(counts.items(), key=lambda item: (_as_number(item[0]), item[0]))
    else:
        items = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    whole = whole if whole is not None else sum(counts.values())
    if len(items) > most:
        rest = items[most - 1 :]
        items = [*items[: most - 1], (f"{len(rest)} more", sum(v for _, v in rest))]
    longest = max((v for _, v in items), default=0) or 1
    found = []
    for label, value in items:
        inside = kept.get(label, 0.0) if kept is not None else value
        of = value if kept is not None else whole
        found.append(
            Bar(
                label or "unknown",
                value,
                charts.share(inside, of),
                100 * value / longest,
                inside,
                100 * min(inside, value) / longest,
                (notes or {}).get(label, ""),
            )
        )
    return found


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
