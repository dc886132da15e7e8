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
# # Images
#
# What the download brought, and how large it is.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## How large are pictures?

# %%
if run.has("images"):
    sides = run.sql("""
        SELECT floor(log2(least(original_width, original_height)) * 2) / 2 AS shorter,
            count(*) AS pictures
        FROM images WHERE least(original_width, original_height) > 0
        GROUP BY shorter ORDER BY shorter
    """)
    plots.histogram(sides, "Shorter side as downloaded", "log2 of pixels", 0.5)

# %% [markdown]
# ## How wide are they for their height?

# %%
if run.has("images"):
    aspect = run.sql("""
        SELECT floor(least(greatest(log2(original_width / original_height), -3), 2.75) * 4) / 4
                AS aspect,
            count(*) FILTER (status = 'ok') AS stored, count(*) FILTER (status <> 'ok') AS refused
        FROM images WHERE original_height > 0 GROUP BY aspect ORDER BY aspect
    """)
    plots.histogram(aspect, "Width over height (0 is a square)", "log2 of the ratio", 0.25)

# %% [markdown]
# ## Which formats?

# %%
if run.has("images"):
    formats = run.sql("""
        SELECT format, count(*) FILTER (status = 'ok') AS stored,
            count(*) FILTER (status <> 'ok') AS refused
        FROM images WHERE format IS NOT NULL GROUP BY format ORDER BY count(*) DESC, format
    """)
    plots.bars(formats, "Formats as downloaded", "pictures")

# %% [markdown]
# ## How many bytes came, and how many are stored?

# %%
if run.has("images"):
    sizes = run.sql("""
        SELECT kind, floor(log2(bytes) * 2) / 2 AS size, count(*) AS pictures
        FROM (SELECT 'received' AS kind, body_bytes AS bytes FROM images WHERE status = 'ok'
              UNION ALL SELECT 'stored', raw_bytes FROM images WHERE status = 'ok')
        WHERE bytes > 0 GROUP BY ALL ORDER BY kind, size
    """)
    plots.lines(plots.by_series(sizes), "Bytes a picture", "log2 of bytes", "pictures")

# %% [markdown]
# ## How flat are pictures?

# %%
if run.has("images"):
    texture = run.sql("""
        SELECT texture // 5 * 5 AS texture, count(*) AS pictures FROM images
        WHERE texture IS NOT NULL GROUP BY 1 ORDER BY 1
    """)
    title = "Texture: below download.min_texture hashes do not tell pictures apart"
    plots.histogram(texture, title, "texture", 5)

# %% [markdown]
# ## How long does a site take to answer?

# %%
if run.has("images"):
    waits = run.sql("""
        SELECT floor(log2(greatest(fetch_ms, 1))) AS doublings,
            count(*) FILTER (status = 'ok') AS stored, count(*) FILTER (status <> 'ok') AS refused
        FROM images WHERE http_status IS NOT NULL GROUP BY doublings ORDER BY doublings
    """)
    plots.histogram(waits, "From first connection to last byte", "log2 of milliseconds", 1)

# %% [markdown]
# ## Which sites fail most?

# %%
if run.has("images", "candidates"):
    failing = run.sql("""
        SELECT domain, count(*) FILTER (status = 'ok') AS stored,
            count(*) FILTER (status <> 'ok') AS refused
        FROM images JOIN candidates USING (image_id)
        GROUP BY domain ORDER BY refused DESC, domain LIMIT 20
    """)
    plots.bars(failing, "Domains with most pictures that were not to be had", "pictures")
