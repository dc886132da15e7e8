"""Histograms as inline SVG that takes its colours from the page's CSS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 360, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 10, 10, 30, 24
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_TICKS = 5


def number(value: float) -> str:
    """A number for people: thousands separators, no more digits than help."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def short(value: float) -> str:
    """A number for an axis: 1200 is 1.2k."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def file_size(value: float) -> str:
    """Bytes in binary units, three digits."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f"{value / 1024**power:.3g} {unit}"
    return f"{value:.0f} bytes"


def share(part: float, whole: float) -> str:
    """A percentage; what is neither none nor all never reads as 0% or 100%."""
    if not whole:
        return "–"
    ratio = part / whole
    if 0 < ratio < 0.001:
        return "<0.1%"
    if 0.999 < ratio < 1:
        return ">99.9%"
    return f"{ratio:.1%}"


@dataclass(frozen=True)
class Histogram:
    """Counts of kept and dropped pairs per bin; bin i is [edges[i], edges[i + 1]).

    low, high: the bounds of the enabled filters; None where there is none.
    """

    name: str
    edges: tuple[float, ...]
    kept: tuple[float, ...]
    dropped: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    is_integer: bool = False

    @property
    def is_log(self) -> bool:
        widths = [b - a for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return len(widths) > 2 and widths[-1] > 1.05 * widths[-2]

    def position(self, value: float) -> float | None:
        """Where a value lies on the axis, 0 to 1; None outside. Bins are equally wide."""
        for i, (a, b) in enumerate(zip(self.edges, self.edges[1:], strict=False)):
            if a <= value <= b:
                if self.is_log and a > 0:
                    inside = math.log(value / a) / math.log(b / a)
                else:
                    inside = (value - a) / (b - a)
                return (i + inside) / (len(self.edges) - 1)
        return None

    def svg(self) -> Markup:
        """The chart; its title says in words what it shows."""
        label = (
            f"{self.name}: {number(sum(self.kept))} kept and {number(sum(self.dropped))} dropped "
            f"pairs between {number(self.edges[0])} and {number(self.edges[-1])}"
        )
        body = Markup("").join([*self._bars(), self._axis(), *self._bounds()])
        return Markup(
            '<svg class="histogram" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
            "<title>{label}</title>{body}</svg>"
        ).format(w=_WIDTH, h=_HEIGHT, label=label, body=body)

    def _bars(self) -> list[Markup]:
        tallest = max((k + d for k, d in zip(self.kept, self.dropped, strict=True)), default=0) or 1
        width = _PLOT_W / len(self.kept)
        gap = min(1.0, width * 0.12)
        found = []
        for i, (kept, dropped) in enumerate(zip(self.kept, self.dropped, strict=True)):
            if not kept + dropped:
                continue
            title = (
                f"{number(self.edges[i])} to {number(self.edges[i + 1])}: "
                f"{number(kept)} kept, {number(dropped)} dropped"
            )
            tall, low = _PLOT_H * (kept + dropped) / tallest, _PLOT_H * kept / tallest
            base = _TOP + _PLOT_H
            found.append(
                Markup(
                    '<g><title>{title}</title><rect class="dropped" x="{x:.2f}" y="{yd:.2f}" '
                    'width="{w:.2f}" height="{hd:.2f}"/><rect class="kept" x="{x:.2f}" '
                    'y="{yk:.2f}" width="{w:.2f}" height="{hk:.2f}"/></g>'
                ).format(
                    title=title, x=_LEFT + i * width, w=width - gap,
                    yd=base - max(tall, 1), hd=max(tall, 1) - low, yk=base - low, hk=low,
                )
            )  # fmt: skip
        return found

    def _axis(self) -> Markup:
        base = _TOP + _PLOT_H
        bins = len(self.kept)
        every = max(1, math.ceil(bins / _TICKS))
        marks = [Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            _LEFT, _WIDTH - _RIGHT, y=base)]  # fmt: skip
        shown = list(range(0, bins + 1, every))
        if bins - shown[-1] < every / 2:
            shown.pop()
        for i in dict.fromkeys([*shown, bins]):
            anchor = "start" if i == 0 else "end" if i == bins else "middle"
            marks.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                    _LEFT + _PLOT_W * i / bins, base + 15, anchor, short(self.edges[i])
                )
            )
        return Markup("").join(marks)

    def _bounds(self) -> list[Markup]:
        drawn = []
        sides: Sequence[tuple[str, float | None]] = (("≥", self.low), ("≤", self.high))
        for sign, value in sides:
            if value is None:
                continue
            # A closed upper bound on integers ends behind the bar of its own value.
            linear_whole = self.is_integer and not self.is_log and sign == "≤"
            place = self.position(value + 1 if linear_whole else value)
            if place is None:
                continue
            x = _LEFT + _PLOT_W * place
            near_right = place > 0.7
            drawn.append(
                Markup(
                    '<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{base}"/>'
                    '<text class="bound-label" x="{tx:.1f}" y="{ty}" text-anchor="{anchor}">'
                    "{sign} {value}</text>"
                ).format(
                    x=x, top=_TOP - 8, base=_TOP + _PLOT_H, tx=x + (-4 if near_right else 4),
                    ty=10 if sign == "≥" else 22, anchor="end" if near_right else "start",
                    sign=sign, value=number(value),
                )
            )  # fmt: skip
        return drawn
