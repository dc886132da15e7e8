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
# # Cost and scaling
#
# Where the time goes, and what more pairs would take.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
import os

import pyarrow as pa

from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## Where does the time go?

# %%
stages = {r["stage"]: float(r["seconds"]) for r in run.records if r.get("seconds")}
ordered = sorted(stages.items(), key=lambda item: -item[1])
times = pa.table({"stage": [s for s, _ in ordered], "seconds": [t for _, t in ordered]})
plots.bars(times, "Seconds of each stage's last run", "seconds")

# %% [markdown]
# ## How fast is each stage?

# %%
rates = [(f"{s.stage}: {s.unit.replace('_', ' ')}", s.rows_per_s) for s in run.funnel if s.seconds]
speeds = pa.table({"stage": [n for n, _ in rates], "rows": [r for _, r in rates]})
plots.bars(speeds, "Rows that come into a stage, by its seconds", "rows a second")

# %% [markdown]
# ## What does a picture cost the processor?

# %%
accounts = [(r["stage"], a) for r in run.records for a in r.get("accounts", []) if a.get("cpu_s")]
costs = [
    (f"{stage}: {step}", 1000 * seconds / max(a["in"], 1))
    for stage, a in accounts
    for step, seconds in a["cpu_s"].items()
]
table = pa.table({"step": [n for n, _ in costs], "ms": [float(ms) for _, ms in costs]})
plots.bars(table, "Processor time, as far as a stage tells it", "ms a row that came in")

# %% [markdown]
# ## How much lies on the disk?

# %%
folders: dict[str, float] = {}
for path, size in run.store.fs.du(run.store.root, total=False).items():
    name = path.split(f"{run.store.root}/")[-1].split("/")[0]
    folders[name] = folders.get(name, 0.0) + size / 2**20
largest = sorted(folders.items(), key=lambda item: -item[1])[:20]
sizes = pa.table({"folder": [n for n, _ in largest], "mb": [mb for _, mb in largest]})
plots.bars(sizes, "Size of each folder of the run", "MiB")

# %% [markdown]
# ## How many kept pairs come of a page, a URL, a picture?

# %%
if run.has("pairs", "candidates", "images", "decisions"):
    steps = run.sql("""
        SELECT unnest(['pages', 'links with a caption', 'distinct pictures', 'downloaded',
                       'kept pairs']) AS what,
            unnest([(SELECT count(DISTINCT page_url) FROM pairs), (SELECT count(*) FROM pairs),
                    (SELECT count(*) FROM candidates),
                    (SELECT count(*) FROM images WHERE status = 'ok'),
                    (SELECT count(*) FROM decisions WHERE is_kept)]) AS count
    """)
    plots.bars(steps, "From pages to kept pairs", "rows")

# %% [markdown]
# ## What would more pairs take?

# %%
# Start-up does not grow, and a small run is mostly that: the lines are an upper end. Every stage is
# linear in its rows but match, which grows slower than 1.25 powers; `make plan` has the model.
kept = next((s.kept for s in reversed(run.funnel) if s.stage in ("shard", "decide")), 0)
cores = float(os.environ.get("PAIRMILL_CORES", os.cpu_count() or 1))
if kept and stages:
    sizes = [kept * 10**i for i in range(8)]
    hours = {
        stage: (sizes, [seconds * cores / 3600 * size / kept for size in sizes])
        for stage, seconds in ordered[:6]
    }
    plots.lines(hours, "Core-hours by kept pairs, at this run's rate", "pairs", "hours", log=True)
else:
    print("This run has kept nothing yet.")
