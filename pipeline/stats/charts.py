"""Histograms as inline SVG that takes its colours from the page's CSS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.stats.moved import Curve

_WIDTH, _HEIGHT = 360, 200
_CURVES_HEIGHT = 84  # below the histogram, of which its name takes the upper 24
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


def change(value: float) -> str:
    """A difference, with its sign."""
    return (
        f"+{number(value)}" if value > 0 else f"\N{MINUS SIGN}{number(-value)}" if value else "±0"
    )


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
    curves: what other places of the bounds would keep, drawn below.
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
    curves: tuple[Curve, ...] = ()

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
        drawn += self._moved()
        body = Markup("").join(drawn)
        return Markup(
            '<svg class="histogram" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
            "<title>{label}</title>{body}</svg>"
        ).format(
            w=_WIDTH, h=_HEIGHT + (_CURVES_HEIGHT if self.curves else 0), label=label, body=body
        )

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
        marks = [Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            _LEFT, _WIDTH - _RIGHT, y=base)]  # fmt: skip
        for value in self._ticks():
            at = self.position(value) or 0.0
            anchor = "start" if at < 0.02 else "end" if at > 0.98 else "middle"
            marks.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                    _LEFT + _PLOT_W * at, base + 15, anchor, short(value)
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

    def _ticks(self) -> list[float]:
        """Values to name on the axis: of a log scale round ones, else edges of bins."""
        if self.is_log:
            first, last = next(e for e in self.edges if e > 0), self.edges[-1]
            powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                round_ = [n * 10.0**k for k in powers for n in steps]
                shown = [v for v in round_ if first <= v <= last]
                if 2 <= len(shown) <= _TICKS + 2:
                    return shown
        bins = len(self.kept)
        every = max(1, math.ceil(bins / _TICKS))
        at = list(range(0, bins + 1, every))
        if bins - at[-1] < every / 2:
            at.pop()
        return [self.edges[i] for i in dict.fromkeys([*at, bins])]

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

    def _moved(self) -> list[Markup]:
        """Pairs kept by the place of each bound: a line each, a point where it is now, and a title
        for each place."""
        if not self.curves:
            return []
        top, tall = _HEIGHT + 24, _CURVES_HEIGHT - 32
        most = max(place.kept for curve in self.curves for place in (*curve.places, curve.now)) or 1
        drawn = [
            Markup(
                '<text x="{}" y="{}">kept, were the bound elsewhere</text>'
                '<line class="axis" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>'
                '<line class="axis" x1="{left}" x2="{right}" y1="{top}" y2="{top}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
                '<text x="{}" y="{}" text-anchor="end">0</text>'
            ).format(
                _LEFT, top - 8, _LEFT - 5, top + 5, short(most), _LEFT - 5, top + tall + 4,
                left=_LEFT, right=_WIDTH - _RIGHT, base=top + tall, top=top,
            )
        ]  # fmt: skip
        for curve in self.curves:
            line, zones = [], []
            for place in sorted({*curve.places, curve.now}, key=lambda p: p.value):
                at = self.position(place.value)
                if at is None:
                    continue
                x, y = _LEFT + _PLOT_W * at, top + tall * (1 - place.kept / most)
                line.append(f"{x:.1f},{y:.1f}")
                dot = " now" if place == curve.now else ""
                zones.append(
                    Markup(
                        '<circle class="place{}" cx="{:.1f}" cy="{:.1f}" r="{}">'
                        "<title>{}</title></circle>"
                    ).format(
                        dot, x, y, 3.5 if dot else 4, self._told(curve, place.value, place.kept)
                    )
                )
            if len(line) > 1:
                drawn.append(
                    Markup('<polyline class="curve {}" points="{}"/>').format(
                        curve.side, " ".join(line)
                    )
                )
            drawn += zones
        return drawn

    def _told(self, curve: Curve, value: float, kept: float) -> str:
        sign = "≥" if curve.side == "low" else "≤"
        return f"{sign} {number(value)} keeps {number(kept)} ({change(kept - curve.now.kept)})"
