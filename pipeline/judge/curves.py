"""The figure of a scaling: samples against score, a line for each model, intervals over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.judge.statistics import estimate
from pipeline.judge.table import at

_COLOURS = ("#23688f", "#b3471d", "#5b8a3a", "#7a5195", "#c79a2b", "#4aa3a2")


def draw(results: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Write the figure, SVG or PNG by the path's ending. results: as `table.curve`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same bytes for the same numbers.
    with mpl.rc_context({"svg.hashsalt": "pairmill", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (model, some) in enumerate(results.items()):
            sizes = sorted({int(r["samples"]) for r in some})
            means = [estimate(at(some, size)) for size in sizes]
            axes.errorbar(
                sizes,
                [100 * one.mean for one in means],
                yerr=[100 * (one.half or 0) for one in means],
                marker="o",
                markersize=4,
                capsize=3,
                color=_COLOURS[number % len(_COLOURS)],
                label=model,
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("samples of the view")
        axes.set_ylabel("average score, %")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        about = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, metadata=about, dpi=150)
