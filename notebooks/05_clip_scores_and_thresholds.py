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
# # CLIP scores and thresholds
#
# What a similarity is worth, by language, and what a bound would keep.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## How similar are pictures and captions?

# %%
if run.has("judged"):
    similar = run.sql("""
        SELECT floor(clip_similarity * 100) / 100 AS similarity,
            count(*) FILTER (is_kept) AS kept, count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY similarity ORDER BY similarity
    """)
    bounds = []
    if run.has("cutoffs"):
        bounds = (
            run.sql("""
            SELECT DISTINCT value FROM cutoffs WHERE measure = 'clip_similarity' ORDER BY value
        """)
            .column("value")
            .to_pylist()[:6]
        )
    plots.histogram(similar, "Similarity of picture and caption", "cosine", 0.01, bounds)

# %% [markdown]
# ## Does it say the same in every language?

# %%
if run.has("scores", "measures"):
    shares = run.sql("""
        WITH top AS (SELECT caption_lang FROM measures GROUP BY caption_lang
                     ORDER BY count(*) DESC, caption_lang LIMIT 5),
             bins AS (SELECT caption_lang, floor(clip_similarity * 50) / 50 AS similarity,
                          count(*) AS pairs
                      FROM measures WHERE caption_lang IN (FROM top) GROUP BY ALL)
        SELECT caption_lang, similarity,
            pairs / sum(pairs) OVER (PARTITION BY caption_lang) AS share
        FROM bins ORDER BY caption_lang, similarity
    """)
    series = plots.by_series(shares)
    plots.lines(series, "Similarity by language of the caption", "cosine", "share of its pairs")

# %% [markdown]
# ## What do mismatched pairs score?

# %%
if run.has("null_scores", "measures"):
    both = run.sql("""
        WITH rows AS (SELECT 'mismatched pairs' AS kind, similarity FROM null_scores
                      WHERE measure = 'clip_similarity'
                      UNION ALL SELECT 'pairs as found', clip_similarity FROM measures),
             bins AS (SELECT kind, floor(similarity * 50) / 50 AS similarity, count(*) AS pairs
                      FROM rows GROUP BY ALL)
        SELECT kind, similarity, pairs / sum(pairs) OVER (PARTITION BY kind) AS share
        FROM bins ORDER BY kind, similarity
    """)
    title = "Similarity of pairs, and of pictures with another's caption"
    plots.lines(plots.by_series(both), title, "cosine", "share")

# %% [markdown]
# ## How many pairs would a bound keep?

# %%
if run.has("measures"):
    kept = run.sql("""
        WITH top AS (SELECT caption_lang FROM measures GROUP BY caption_lang
                     ORDER BY count(*) DESC, caption_lang LIMIT 5),
             bins AS (SELECT caption_lang, floor(clip_similarity * 100) / 100 AS bound,
                          count(*) AS pairs
                      FROM measures WHERE caption_lang IN (FROM top) GROUP BY ALL)
        SELECT caption_lang, bound, sum(pairs) OVER (PARTITION BY caption_lang ORDER BY bound DESC)
                / sum(pairs) OVER (PARTITION BY caption_lang) AS share
        FROM bins ORDER BY caption_lang, bound
    """)
    series = plots.by_series(kept)
    plots.lines(series, "Pairs at or above a bound", "clip_similarity.low", "share of its pairs")

# %% [markdown]
# ## And how many mismatched ones would pass it?

# %%
if run.has("null_scores"):
    passing = run.sql("""
        WITH top AS (SELECT lang FROM null_scores GROUP BY lang ORDER BY count(*) DESC, lang
                     LIMIT 5),
             bins AS (SELECT lang, floor(similarity * 100) / 100 AS bound, count(*) AS pairs
                      FROM null_scores
                      WHERE measure = 'clip_similarity' AND lang IN (FROM top) GROUP BY ALL)
        SELECT lang, bound, sum(pairs) OVER (PARTITION BY lang ORDER BY bound DESC)
                / sum(pairs) OVER (PARTITION BY lang) AS share
        FROM bins ORDER BY lang, bound
    """)
    series = plots.by_series(passing)
    title = "False accepts: mismatched pairs at or above a bound"
    plots.lines(series, title, "clip_similarity.low", "share of the language's")

# %% [markdown]
# ## Do long captions score differently?

# %%
if run.has("judged"):
    by_length = run.sql("""
        SELECT 'mean' AS name, least(length(caption) // 10 * 10, 200) AS characters,
            avg(clip_similarity) AS similarity
        FROM judged GROUP BY characters ORDER BY characters
    """)
    series = plots.by_series(by_length)
    plots.lines(series, "Mean similarity by length of the caption", "characters", "cosine")

# %% [markdown]
# ## Which pairs are at the two ends?

# %%
if run.has("judged"):
    ends = run.sql("""
        (SELECT round(clip_similarity, 3) AS cosine, caption_lang, left(caption, 70) AS caption
         FROM judged ORDER BY clip_similarity DESC, pair_id LIMIT 8)
        UNION ALL
        (SELECT round(clip_similarity, 3), caption_lang, left(caption, 70)
         FROM judged ORDER BY clip_similarity, pair_id LIMIT 8)
        ORDER BY cosine DESC
    """)
    plots.texts(ends)
