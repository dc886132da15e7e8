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
# What came in, what stayed, and why the rest went.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots
from pipeline.stats.funnel import render_funnel

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## Where do pairs go?

# %%
print(render_funnel(run.funnel))

# %% [markdown]
# ## How did the downloads end?

# %%
if run.has("images"):
    statuses = run.sql("""
        SELECT status, count(*) AS images FROM images WHERE status <> 'ok'
        GROUP BY status ORDER BY images DESC, status LIMIT 20
    """)
    plots.bars(statuses, "Why pictures were not downloaded", "pictures")

# %% [markdown]
# ## Why are pairs dropped?

# %%
if run.has("decisions"):
    reasons = run.sql("""
        SELECT reason, count(*) AS pairs FROM (SELECT unnest(reasons) AS reason FROM decisions)
        GROUP BY reason ORDER BY pairs DESC, reason LIMIT 20
    """)
    plots.bars(reasons, "Bounds that pairs fail, each pair under all of its own", "pairs")

# %% [markdown]
# ## Which reasons come together?

# %%
if run.has("decisions"):
    joint = run.sql("""
        WITH top AS (SELECT reason FROM (SELECT unnest(reasons) AS reason FROM decisions)
                     GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 8),
             long AS (SELECT pair_id, unnest(reasons) AS reason FROM decisions
                      WHERE NOT is_kept)
        SELECT a.reason AS one, b.reason AS other, count(*) AS pairs
        FROM long a JOIN long b USING (pair_id)
        WHERE a.reason IN (FROM top) AND b.reason IN (FROM top)
        GROUP BY ALL ORDER BY one, other
    """)
    plots.grid(joint, "Pairs that fail both bounds", "", "")

# %% [markdown]
# ## Which languages do captions have, and which stay?

# %%
if run.has("judged"):
    languages = run.sql("""
        SELECT caption_lang, count(*) FILTER (is_kept) AS kept,
            count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY caption_lang ORDER BY count(*) DESC, caption_lang LIMIT 20
    """)
    plots.bars(languages, "Languages of captions", "pairs")

# %% [markdown]
# ## Which domains give most kept pairs?

# %%
if run.has("judged"):
    domains = run.sql("""
        SELECT domain, count(*) FILTER (is_kept) AS kept, count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY domain ORDER BY kept DESC, dropped DESC, domain LIMIT 20
    """)
    plots.bars(domains, "Registrable domains of pictures", "pairs")
