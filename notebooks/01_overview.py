# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Overview of a run
#
# Each cell asks one question of a finished run. Set `PAIRMILL_RUN` to its folder.

# %%
import os

import matplotlib.pyplot as plt

from pipeline.stats import summary
from pipeline.stats.funnel import render_funnel

# %matplotlib inline
run = summary.load(os.environ.get("PAIRMILL_RUN", "runs/demo"))
KEPT, DROPPED, BOUND = "#23688f", "#c3c8cd", "#b3471d"
plt.rcParams |= {
    "figure.figsize": (8, 3.6),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": ["DejaVu Sans"],
}


def draw_bars(counts, title, unit):
    """Horizontal bars, longest on top. Text from the web is drawn as it is, never as mathtext."""
    items = sorted(counts.items(), key=lambda item: (item[1], item[0]))[-20:]
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * max(len(items), 1)))
    axes.barh(
        [name.replace("$", r"\$") or "unknown" for name, _ in items],
        [n for _, n in items],
        color=KEPT,
    )
    axes.set(title=title, xlabel=unit)


def draw_histogram(measure, unit=""):
    """Kept over dropped pairs per bin, with the bounds."""
    edges = [v for _, v in sorted(run.figure("edges").get(measure, {}).items())]
    _, axes = plt.subplots()
    if len(edges) < 2:
        axes.set_title(f"{measure}: no values")
        return
    counts = run.figure(measure)
    labels = {s: {float(b): v for b, v in counts[s].items() if b != "missing"} for s in counts}
    kept, dropped = ([labels[s].get(e, 0) for e in edges[:-1]] for s in ("kept", "dropped"))
    places = range(len(edges) - 1)
    axes.bar(places, kept, width=0.9, align="edge", color=KEPT, label="kept")
    axes.bar(places, dropped, width=0.9, align="edge", bottom=kept, color=DROPPED, label="dropped")
    every = max(1, len(edges) // 8)
    axes.set_xticks(range(0, len(edges), every), [f"{e:.3g}" for e in edges[::every]])
    for value in run.bounds(measure):
        if value is not None and edges[0] <= value <= edges[-1]:
            i = max(i for i, e in enumerate(edges[:-1]) if e <= value)
            place = i + (value - edges[i]) / (edges[i + 1] - edges[i])
            axes.axvline(place, color=BOUND, linestyle="--", label=f"bound {value:g}")
    axes.set(title=measure.replace("_", " "), xlabel=unit, ylabel="pairs")
    axes.legend(frameon=False)


# %% [markdown]
# ## Where do pairs go?

# %%
print(render_funnel(run.funnel))
shown = run.funnel[::-1]
figure, axes = plt.subplots(figsize=(8, 0.6 + 0.35 * max(len(shown), 1)))
names = [f"{step.stage}: {step.unit.replace('_', ' ')}" for step in shown]
axes.barh(names, [step.rows_in for step in shown], color=DROPPED, label="in")
axes.barh(names, [step.kept for step in shown], color=KEPT, label="kept")
axes.set_title("What came into each stage and what stayed")
axes.legend(frameon=False)
# %% [markdown]
# ## How did the downloads end?

# %%
statuses = run.figure("status").get("images", {})
failed = {status: n for status, n in statuses.items() if status != "ok"}
draw_bars(failed, f"Why images were not downloaded ({statuses.get('ok', 0):,.0f} were)", "images")
# %% [markdown]
# ## Why are pairs dropped?

# %%
draw_bars(run.figure("reason").get("at_all", {}), "Bounds that pairs fail", "pairs")
# %% [markdown]
# ## Which languages do pages declare, and which pairs stay?

# %%
declared = run.figure("page_lang")
draw_bars(declared.get("pairs", {}), "Declared languages of pages", "pairs found")
draw_bars(declared.get("kept", {}), "Declared languages of pages, kept pairs", "pairs")
# %% [markdown]
# ## How similar are pictures and captions?

# %%
draw_histogram("clip_similarity", "cosine")
# %% [markdown]
# ## How large are the pictures?

# %%
draw_histogram("original_width", "pixels")
draw_histogram("original_height", "pixels")
draw_histogram("width_over_height")
# %% [markdown]
# ## How large are groups of duplicates?

# %%
groups = run.figure("duplicate_group").get("groups", {})
draw_bars(groups, "Pictures in a group, the kept one included", "groups")
# %% [markdown]
# ## Which domains give most kept pairs?

# %%
run.sql(
    """
    SELECT domain, count(*) AS judged, count(*) FILTER (is_kept) AS kept
    FROM measures JOIN decisions USING (pair_id)
    GROUP BY domain ORDER BY kept DESC, judged DESC, domain LIMIT 20
    """
).to_pandas()
