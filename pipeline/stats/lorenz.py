"""A Lorenz curve as inline SVG that takes its colours from the page's CSS."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

_SIDE, _LEFT, _TOP, _BOTTOM = 220, 44, 10, 42
_WIDTH = 300
_NAMES = {"pairs": "found", "kept": "kept"}


def svg(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    """One line for each series: share of the domains, the smallest first, against the share of the
    pairs that these have. Points are (x, y), 0 to 1."""
    base = _TOP + _SIDE

    def place(x: float, y: float) -> str:
        return f"{_LEFT + _SIDE * x:.1f},{base - _SIDE * y:.1f}"

    drawn = [
        Markup(
            '<rect class="frame" x="{left}" y="{top}" width="{side}" height="{side}"/>'
            '<line class="axis" x1="{left}" y1="{base}" x2="{right}" y2="{top}"/>'
            '<text x="{left}" y="{under}">0%</text>'
            '<text x="{right}" y="{under}" text-anchor="end">100%</text>'
            '<text x="{middle}" y="{title}" text-anchor="middle">of the domains, smallest first'
            "</text>"
            '<text x="{before}" y="{high}" text-anchor="end">100%</text>'
            '<text x="{before}" y="{base}" text-anchor="end">0%</text>'
        ).format(
            left=_LEFT, top=_TOP, side=_SIDE, base=base, right=_LEFT + _SIDE, under=base + 15,
            middle=_LEFT + _SIDE / 2, title=base + 33, before=_LEFT - 5, high=_TOP + 10,
        )
    ]  # fmt: skip
    for series, points in curves.items():
        drawn.append(
            Markup('<polyline class="lorenz {}" points="{}"><title>{}</title></polyline>').format(
                series, " ".join(place(x, y) for x, y in points), _NAMES.get(series, series)
            )
        )
    label = "Share of the pairs against share of the domains, the smallest domains first"
    return Markup(
        '<svg class="histogram" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        "<title>{label}</title>{body}</svg>"
    ).format(w=_WIDTH, h=base + _BOTTOM, label=label, body=Markup("").join(drawn))
