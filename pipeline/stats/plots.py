"""Figures of notebooks: small tables of counts in, Matplotlib figures out.

Text from the web is drawn as it is, never as mathtext. All counting is DuckDB's: what comes here
are rows of bins and categories, whatever the size of the run.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pyarrow as pa
from matplotlib import font_manager

from pipeline.core.errors import InputError
from pipeline.stats import summary

KEPT, DROPPED, BOUND = "#23688f", "#c3c8cd", "#b3471d"
SERIES = ("#23688f", "#b3471d", "#5b8a3a", "#7a5195", "#c79a2b", "#4aa3a2")
_LONGEST = 48
# Of Linux distributions, macOS and Windows.
_CJK_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "NanumGothic",
    "UnDotum",
    "Apple SD Gothic Neo",
    "Hiragino Sans",
    "Malgun Gothic",
    "Yu Gothic",
    "Microsoft YaHei",
)


class NotebookRun(summary.Run):
    """A run that tells what it lacks. Beside its tables there is `judged`: the rows of `measures`
    with their decisions."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        if {"measures", "decisions"} <= set(self.tables):
            self.connection.execute(summary.JUDGED)
            self.tables = (*self.tables, "judged")

    def has(self, *tables: str) -> bool:
        """Whether the tables are there and not empty; where not, says so in their place."""
        for table in tables:
            if table not in self.tables:
                print(f"This run has no table {table!r} yet.")
                return False
            if not self.sql(f"SELECT 1 FROM {table} LIMIT 1").num_rows:
                print(f"The table {table!r} of this run is empty.")
                return False
        return True


def open_run() -> NotebookRun:
    """The run that PAIRMILL_RUN names, or the demo's. Raises InputError when it is none."""
    plt.rcParams |= {
        "figure.figsize": (8, 3.6),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": _fonts(),
        "legend.frameon": False,
        "figure.autolayout": True,
    }
    root = os.environ.get("PAIRMILL_RUN", "runs/demo")
    try:
        return NotebookRun(root)
    except FileNotFoundError as error:
        raise InputError(f"PAIRMILL_RUN = {root!r}: {error}") from None


def _fonts() -> list[str]:
    """Matplotlib's own, and what this machine has for Korean, Japanese and Chinese."""
    known = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(font for font in _CJK_FONTS if font in known)]


def label(text: object) -> str:
    """A text as a label: short, on one line, without mathtext."""
    shown = " ".join(str("unknown" if text in (None, "") else text).split())
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    return shown.replace("$", r"\$")


def bars(rows: pa.Table, title: str, unit: str) -> None:
    """Horizontal bars, the first row on top: a column of names, then one of numbers for each part
    of a bar. Two parts are what is kept and what is dropped."""
    names, *parts = rows.column_names
    shown = [label(name) for name in rows.column(names).to_pylist()][::-1]
    _, axes = plt.subplots(figsize=(8, 0.9 + 0.28 * max(len(shown), 1)))
    left = [0.0] * len(shown)
    colours = (KEPT, DROPPED) if len(parts) == 2 else SERIES
    for part, colour in zip(parts, colours, strict=False):
        widths = [float(value or 0) for value in rows.column(part).to_pylist()][::-1]
        # By place, not by name: two long names may be cut to the same label.
        axes.barh(range(len(shown)), widths, left=left, color=colour, label=part.replace("_", " "))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shown)), shown)
    axes.set_title(title, loc="left")
    axes.set(xlabel=unit)
    if len(parts) > 1:
        _legend(axes)


def histogram(
    rows: pa.Table, title: str, unit: str, width: float, bounds: Sequence[float | None] = ()
) -> None:
    """Bins of one width: a column of their low edges, then one of counts for each part of a bar."""
    edges, *parts = rows.column_names
    _, axes = plt.subplots()
    lows = [float(value) for value in rows.column(edges).to_pylist()]
    bottom = [0.0] * len(lows)
    colours = (KEPT, DROPPED) if len(parts) == 2 else SERIES
    for part, colour in zip(parts, colours, strict=False):
        heights = [float(value or 0) for value in rows.column(part).to_pylist()]
        name = part.replace("_", " ")
        axes.bar(lows, heights, width, bottom=bottom, align="edge", color=colour, label=name)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    _draw_bounds(axes, bounds)
    axes.set_title(title, loc="left")
    axes.set(xlabel=unit)
    if len(parts) > 1 or any(bound is not None for bound in bounds):
        _legend(axes)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x: str,
    y: str,
    bounds: Sequence[float | None] = (),
    log: bool = False,
) -> None:
    """A line for each name: places and heights. log: both axes."""
    _, axes = plt.subplots()
    for (name, (at, values)), colour in zip(series.items(), SERIES * 4, strict=False):
        axes.plot(at, values, color=colour, label=label(name))
    _draw_bounds(axes, bounds)
    if log and any(at for at, _ in series.values()):
        axes.set(xscale="log", yscale="log")
    axes.set_title(title, loc="left")
    axes.set(xlabel=x, ylabel=y)
    if len(series) > 1 or any(bound is not None for bound in bounds):
        _legend(axes)


def texts(rows: pa.Table) -> None:
    """Rows as text, for what the web wrote: a browser has the fonts of every script."""
    print(rows.to_pandas().to_string(index=False))


def grid(rows: pa.Table, title: str, x: str, y: str) -> None:
    """Counts of two categories, as shades with their numbers: columns x, y, count."""
    columns = [column.to_pylist() for column in rows.columns]
    places = [list(dict.fromkeys(column)) for column in columns[:2]]
    table = [[0.0] * len(places[0]) for _ in places[1]]
    for across, down, count in zip(*columns, strict=True):
        table[places[1].index(down)][places[0].index(across)] = float(count)
    if not table:
        table = [[0.0]]
    _, axes = plt.subplots(figsize=(8, 1.2 + 0.4 * max(len(places[1]), 1)))
    most = max(max(row) for row in table) or 1.0
    # The root, so that small counts are not all white.
    axes.imshow([[(v / most) ** 0.5 for v in row] for row in table], cmap="Blues", aspect="auto")
    for down, row in enumerate(table):
        for across, value in enumerate(row):
            if value:
                dark = (value / most) ** 0.5 > 0.6
                colour = "white" if dark else "black"
                axes.text(across, down, f"{value:,.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(places[0])), [label(v) for v in places[0]], rotation=30, ha="right")
    axes.set_yticks(range(len(places[1])), [label(v) for v in places[1]])
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left")
    axes.set(xlabel=x, ylabel=y)


def by_series(rows: pa.Table) -> dict[str, tuple[list[float], list[float]]]:
    """What `lines` draws, of columns name, place, height."""
    names, at, values = (rows.column(n).to_pylist() for n in rows.column_names)
    found: dict[str, tuple[list[float], list[float]]] = {}
    for name, place, value in zip(names, at, values, strict=True):
        places, heights = found.setdefault(label(name), ([], []))
        places.append(float(place))
        heights.append(float(value))
    return found


def _legend(axes: Any) -> None:
    """Under the figure, where it hides nothing."""
    axes.legend(loc="upper right", bbox_to_anchor=(1, -0.12), ncols=4, fontsize="small")


def _draw_bounds(axes: Any, bounds: Sequence[float | None]) -> None:
    for bound in bounds:
        if bound is not None:
            axes.axvline(bound, color=BOUND, linestyle="--", label=f"bound {bound:g}")
