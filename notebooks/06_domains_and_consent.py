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
# # Domains and consent
#
# Whose pictures these are, and who said no.
# Each cell asks one question. Set `PAIRMILL_RUN` to a run folder, on disk or in object storage.

# %%
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()

# %% [markdown]
# ## How concentrated are the kept pairs?

# %%
if run.has("judged"):
    curve = run.sql("""
        WITH domains AS (SELECT domain, count(*) FILTER (is_kept) AS kept FROM judged
                         GROUP BY domain HAVING kept > 0),
             ordered AS (SELECT kept, row_number() OVER (ORDER BY kept DESC, domain) AS place
                         FROM domains),
             summed AS (SELECT place, sum(kept) OVER (ORDER BY place) / sum(kept) OVER () AS share,
                            floor(log2(place) * 4) AS step
                        FROM ordered)
        SELECT 'kept pairs' AS name, max(place) AS domains, max(share) AS share
        FROM summed GROUP BY step ORDER BY domains
    """)
    title = "Share of the kept pairs that the largest domains hold"
    plots.lines(plots.by_series(curve), title, "domains", "share")

# %% [markdown]
# ## How long is the tail?

# %%
if run.has("judged"):
    tail = run.sql("""
        WITH domains AS (SELECT count(*) AS pairs, count(*) FILTER (is_kept) AS kept FROM judged
                         GROUP BY domain)
        SELECT floor(log2(pairs)) AS doublings, count(*) FILTER (kept > 0) AS with_kept_pairs,
            count(*) FILTER (kept = 0) AS without
        FROM domains GROUP BY doublings ORDER BY doublings
    """)
    plots.histogram(tail, "Domains by their number of pairs", "log2 of pairs", 1)

# %% [markdown]
# ## Which top-level domains?

# %%
if run.has("judged"):
    top = run.sql("""
        SELECT '.' || regexp_extract(domain, '[^.]+$') AS ending, count(*) FILTER (is_kept) AS kept,
            count(*) FILTER (NOT is_kept) AS dropped
        FROM judged GROUP BY ending ORDER BY count(*) DESC, ending LIMIT 20
    """)
    plots.bars(top, "Endings of domains", "pairs")

# %% [markdown]
# ## Who opted out, by which means?

# %%
if run.has("images"):
    consent = run.sql("""
        SELECT consent, count(*) AS pictures FROM images
        WHERE consent NOT IN ('allowed', 'adopted')
        GROUP BY consent ORDER BY pictures DESC, consent LIMIT 20
    """)
    plots.bars(consent, "Pictures that were not taken, by what says no", "pictures")

# %% [markdown]
# ## Which domains opt out most?

# %%
if run.has("images", "candidates"):
    domains = run.sql("""
        SELECT domain, count(*) AS pictures FROM images JOIN candidates USING (image_id)
        WHERE consent NOT IN ('allowed', 'adopted', 'unknown')
        GROUP BY domain ORDER BY pictures DESC, domain LIMIT 20
    """)
    plots.bars(domains, "Domains with most pictures that an opt-out holds", "pictures")

# %% [markdown]
# ## What do pages state?

# %%
if run.has("pairs"):
    stated = run.sql("""
        SELECT page_optout AS statement, count(DISTINCT page_url) AS pages FROM pairs
        WHERE page_optout IS NOT NULL GROUP BY statement ORDER BY pages DESC, statement LIMIT 20
    """)
    plots.bars(stated, "Opt-outs of pages that count for this crawler", "pages")

# %% [markdown]
# ## What do pages state that does not count?

# %%
if run.has("pairs"):
    other = run.sql("""
        SELECT kind, count(DISTINCT page_url) AS pages FROM (
            SELECT 'robots meta' AS kind, page_url FROM pairs
            WHERE page_robots_meta IS NOT NULL AND page_optout IS NULL
            UNION ALL SELECT 'X-Robots-Tag', page_url FROM pairs
            WHERE page_robots_tag IS NOT NULL AND page_optout IS NULL
            UNION ALL SELECT 'TDM reservation', page_url FROM pairs
            WHERE page_tdm IS NOT NULL AND page_optout IS NULL)
        GROUP BY kind ORDER BY pages DESC, kind
    """)
    plots.bars(other, "Statements to others, or of other things", "pages")
