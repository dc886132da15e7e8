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
# # Captions and languages
#
# What is said of pictures, in which languages, and how often the same.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## How long are captions, and which stay?

# %%
if run.has("judged"):
    lengths = run.sql("""
        SELECT least(length(caption) // 10 * 10, 300) AS characters,
            count(*) FILTER (is_kept) AS kept, count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY characters ORDER BY characters
    """)
    plots.histogram(lengths, "Length of captions (the last bin: 300 and more)", "characters", 10)

# %% [markdown]
# ## Does the length differ by language?

# %%
if run.has("judged"):
    shares = run.sql("""
        WITH top AS (SELECT caption_lang FROM judged GROUP BY caption_lang
                     ORDER BY count(*) DESC, caption_lang LIMIT 5),
             bins AS (SELECT caption_lang, least(length(caption) // 10 * 10, 200) AS characters,
                          count(*) AS pairs
                      FROM judged WHERE caption_lang IN (FROM top) GROUP BY ALL)
        SELECT caption_lang, characters,
            pairs / sum(pairs) OVER (PARTITION BY caption_lang) AS share
        FROM bins ORDER BY caption_lang, characters
    """)
    series = plots.by_series(shares)
    plots.lines(series, "Length of captions by language", "characters", "share of its pairs")

# %% [markdown]
# ## How sure is the language?

# %%
if run.has("judged"):
    sure = run.sql("""
        SELECT floor(least(caption_lang_confidence, 0.999) * 20) / 20 AS confidence,
            count(*) FILTER (caption_lang <> 'und') AS named,
            count(*) FILTER (caption_lang = 'und') AS undetermined
        FROM judged GROUP BY confidence ORDER BY confidence
    """)
    plots.histogram(sure, "Confidence in the language of a caption", "confidence", 0.05)

# %% [markdown]
# ## Do captions speak the language of their page?

# %%
if run.has("judged"):
    spoken = run.sql("""
        WITH top AS (SELECT caption_lang FROM judged GROUP BY caption_lang
                     ORDER BY count(*) DESC, caption_lang LIMIT 8)
        SELECT page_lang_detected AS page, caption_lang AS caption, count(*) AS pairs
        FROM judged WHERE page_lang_detected IN (FROM top) AND caption_lang IN (FROM top)
        GROUP BY ALL ORDER BY page, caption
    """)
    plots.grid(spoken, "Language of the page's text and of the caption", "page", "caption")

# %% [markdown]
# ## Where on a page do captions come from?

# %%
if run.has("judged"):
    kinds = run.sql("""
        SELECT caption_kind, count(*) FILTER (is_kept) AS kept,
            count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY caption_kind ORDER BY count(*) DESC, caption_kind
    """)
    plots.bars(kinds, "Sources of captions", "pairs")

# %% [markdown]
# ## On how many pictures is the same caption?

# %%
if run.has("judged"):
    repeated = run.sql("""
        SELECT floor(log2(greatest(caption_images, 1))) AS doublings,
            count(*) FILTER (is_kept) AS kept, count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY doublings ORDER BY doublings
    """)
    title = "Pictures that carry a pair's caption (bin k: 2^k up to 2^(k+1))"
    plots.histogram(repeated, title, "k", 1)

# %% [markdown]
# ## Which captions are the commonest?

# %%
if run.has("judged"):
    commonest = run.sql("""
        SELECT left(caption, 80) AS caption, max(caption_images) AS pictures FROM judged
        GROUP BY ALL ORDER BY pictures DESC, caption LIMIT 20
    """)
    plots.texts(commonest.select(["pictures", "caption"]))
