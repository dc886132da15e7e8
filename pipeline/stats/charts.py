"""Histograms as inline SVG that takes its colours from the page's CSS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 32, 42
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


def _round_step(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `most`, and at least 1."""
    power = 10.0 ** math.floor(math.log10(max(most, 1.0)))
    return max(n * power for n in (1, 2, 5) if n * power <= max(most, 1.0))


@dataclass(frozen=True)
class Histogram:
    """Counts of kept and dropped pairs per bin; bin i is [edges[i], edges[i + 1]).

    low, high: the bounds of the enabled filters; None where there is none.
    low_filter, high_filter: the filters that set them. unit: of the values, may be empty.
    beside: counts to compare with, drawn as a line; empty, or one for each bin.
    """

    name: str
    edges: tuple[float, ...]
    kept: tuple[float, ...]
    dropped: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    is_integer: bool = False
    unit: str = ""
    low_filter: str = ""
    high_filter: str = ""
    beside: tuple[float, ...] = ()

    @property
    def is_log(self) -> bool:
        widths = [b - a for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return len(widths) > 2 and widths[-1] > 1.05 * widths[-2]

    @property
    def is_constant(self) -> bool:
        """All values are the same integer."""
        return self.is_integer and len(self.kept) == 1 and self.edges[1] - self.edges[0] == 1

    @property
    def is_flag(self) -> bool:
        """The values are 0 and 1."""
        return self.is_integer and self.edges == (0.0, 1.0, 2.0)

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
        drawn = [*self._grid(), *self._bars(), self._line(), self._axis(), *self._bounds()]
        body = Markup("").join(drawn)
        return Markup(
            '<svg class="histogram" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
            "<title>{label}</title>{body}</svg>"
        ).format(w=_WIDTH, h=_HEIGHT, label=label, body=body)

    @property
    def _tallest(self) -> float:
        bars = [k + d for k, d in zip(self.kept, self.dropped, strict=True)]
        return max([*bars, *self.beside], default=0) or 1

    def _grid(self) -> list[Markup]:
        """Lines across at round counts, and what is counted."""
        step = _round_step(self._tallest / 2)
        lines = [
            Markup('<text x="{}" y="{}" text-anchor="end">pairs</text>').format(
                _LEFT - 5, _TOP - 12
            )
        ]
        count = 0.0
        while count <= self._tallest:
            y = _TOP + _PLOT_H * (1 - count / self._tallest)
            lines.append(
                Markup(
                    '<line class="axis" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
                    '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                ).format(_LEFT, _WIDTH - _RIGHT, _LEFT - 5, y + 4, short(count), y=y)
            )
            count += step
        return lines

    def _bars(self) -> list[Markup]:
        tallest = self._tallest
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

    def _line(self) -> Markup:
        """The counts of `beside` as steps."""
        if not self.beside:
            return Markup("")
        width, base = _PLOT_W / len(self.beside), _TOP + _PLOT_H
        steps = [f"M{_LEFT} {base}"]
        for i, count in enumerate(self.beside):
            y = base - _PLOT_H * count / self._tallest
            steps.append(f"V{y:.1f}H{_LEFT + (i + 1) * width:.1f}")
        return Markup('<path class="beside" d="{}"/>').format("".join([*steps, f"V{base}"]))

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
        scale = "log scale" if self.is_log else ""
        title = ", ".join(filter(None, [self.unit or self.name.replace("_", " "), scale]))
        marks.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                _LEFT + _PLOT_W // 2, base + 33, title
            )
        )
        return Markup("").join(marks)

    def _bounds(self) -> list[Markup]:
        drawn = []
        sides: Sequence[tuple[str, float | None, str]] = (
            ("≥", self.low, self.low_filter),
            ("≤", self.high, self.high_filter),
        )
        for sign, value, setter in sides:
            if value is None:
                continue
            # A closed upper bound on integers ends behind the bar of its own value.
            linear_whole = self.is_integer and not self.is_log and sign == "≤"
            place = self.position(value + 1 if linear_whole else value)
            if place is None:
                continue
            x = _LEFT + _PLOT_W * place
            near_right = place > 0.5
            drawn.append(
                Markup(
                    '<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{base}"/>'
                    '<text class="bound-label" x="{tx:.1f}" y="{ty}" text-anchor="{anchor}">'
                    "{sign} {value}{setter}</text>"
                ).format(
                    x=x, top=_TOP - 8, base=_TOP + _PLOT_H, tx=x + (-4 if near_right else 4),
                    ty=10 if sign == "≥" else 22, anchor="end" if near_right else "start",
                    sign=sign, value=number(value), setter=f" {setter}" if setter else "",
                )
            )  # fmt: skip
        return drawn
