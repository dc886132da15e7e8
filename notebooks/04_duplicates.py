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
# # Duplicates
#
# Which pictures are the same, how that was found, and what stays of them.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## How large are groups of the same picture?

# %%
if run.has("decisions"):
    groups = run.sql("""
        WITH groups AS (SELECT duplicate_of, count(DISTINCT image_id) + 1 AS size FROM decisions
                        WHERE duplicate_of IS NOT NULL GROUP BY duplicate_of)
        SELECT CASE WHEN size < 10 THEN size::VARCHAR ELSE '10 and more' END AS size,
            count(*) AS groups
        FROM groups GROUP BY ALL ORDER BY size
    """)
    plots.bars(groups, "Pictures in a group, the survivor included", "groups")

# %% [markdown]
# ## By which rule, and how far apart?

# %%
if run.has("decisions"):
    rules = run.sql("""
        SELECT duplicate_rule AS rule, coalesce(duplicate_distance, -1) AS distance,
            count(DISTINCT image_id) AS pictures
        FROM decisions WHERE duplicate_of IS NOT NULL GROUP BY ALL ORDER BY distance, rule
    """)
    title = "Distance to the survivor (-1: told by embeddings)"
    plots.grid(rules.select(["distance", "rule", "pictures"]), title, "bits of hash64", "rule")

# %% [markdown]
# ## What would another radius find?

# %%
if run.has("neighbors"):
    radius = run.sql("""
        SELECT rule, distance, sum(count(*)) OVER (PARTITION BY rule ORDER BY distance) AS edges
        FROM neighbors GROUP BY rule, distance ORDER BY rule, distance
    """)
    plots.lines(plots.by_series(radius), "Edges within a distance", "bits of hash64", "edges")

# %% [markdown]
# ## Which domains hold the same pictures?

# %%
if run.has("decisions", "candidates"):
    shared = run.sql("""
        WITH copies AS (SELECT DISTINCT image_id, duplicate_of FROM decisions
                        WHERE duplicate_of IS NOT NULL)
        SELECT a.domain || ' of ' || b.domain AS domains, count(*) AS pictures
        FROM copies JOIN candidates a USING (image_id)
            JOIN candidates b ON b.image_id = copies.duplicate_of
        WHERE a.domain <> b.domain GROUP BY domains ORDER BY pictures DESC, domains LIMIT 20
    """)
    plots.bars(shared, "A domain's duplicates of another domain's pictures", "pictures")

# %% [markdown]
# ## Is the survivor the largest?

# %%
if run.has("judged", "images"):
    larger = run.sql("""
        WITH copies AS (SELECT DISTINCT image_id, duplicate_of FROM judged
                        WHERE duplicate_of IS NOT NULL)
        SELECT floor(least(greatest(log2((b.original_width * b.original_height)
                / (a.original_width * a.original_height)), -3), 4.5) * 2) / 2 AS larger,
            count(*) AS pictures
        FROM copies JOIN images a USING (image_id)
            JOIN images b ON b.image_id = copies.duplicate_of
        WHERE a.original_width > 0 AND b.original_width > 0 GROUP BY larger ORDER BY larger
    """)
    title = "Pixels of the survivor over those of what gave way"
    plots.histogram(larger, title, "log2 of the ratio", 0.5)

# %% [markdown]
# ## Do duplicates have other captions?

# %%
if run.has("judged"):
    captions = run.sql("""
        WITH groups AS (SELECT coalesce(duplicate_of, image_id) AS survivor, caption FROM judged),
             of_group AS (SELECT survivor, count(DISTINCT caption) AS captions FROM groups
                          WHERE survivor IN (SELECT duplicate_of FROM judged) GROUP BY survivor)
        SELECT CASE WHEN captions < 8 THEN captions::VARCHAR ELSE '8 and more' END AS captions,
            count(*) AS groups
        FROM of_group GROUP BY ALL ORDER BY captions
    """)
    plots.bars(captions, "Distinct captions of a group of the same picture", "groups")
