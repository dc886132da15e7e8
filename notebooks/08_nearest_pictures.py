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
# # Nearest pictures
#
# Which kept pictures lie near a text or a picture. Make the index first: `make index RUN=<run>`.
# Set `PAIRMILL_RUN` to the run folder, and `PAIRMILL_QUERY` to a text. `make explore` shows the
# same as a page.

# %%
import io
import os

import matplotlib.pyplot as plt
from PIL import Image

from jobs.explore import open_index
from pipeline.stats import plots

# %matplotlib inline
run = plots.open_run()
nearest, model = open_index(run.store)
query = os.environ.get("PAIRMILL_QUERY", "a red star on a blue background")


def show(hits, title):
    """Pictures with their captions, four in a row."""
    figure, axes = plt.subplots(-(-len(hits) // 4), 4, figsize=(9, 2.6 * -(-len(hits) // 4)))
    figure.suptitle(plots.label(title))
    for place in axes.flat:
        place.axis("off")
    for place, hit in zip(axes.flat, hits, strict=False):
        place.imshow(Image.open(io.BytesIO(nearest.picture(hit.row))))
        place.set_title(f"{hit.similarity:.2f} {plots.label(hit.caption)[:28]}", fontsize=7)


# %% [markdown]
# ## Which pictures are nearest to a text?

# %%
hits = nearest.search(model.text(query), 8) if nearest else []
if hits:
    show(hits, query)
# %% [markdown]
# ## Which are nearest to the first of them?

# %%
if hits:
    show(nearest.search(nearest.vector(hits[0].row), 8), "like the first")
# %% [markdown]
# ## How fast does similarity fall?

# %%
if hits:
    many = nearest.search(model.text(query), 400)
    falling = {"similarity": (list(range(1, len(many) + 1)), [hit.similarity for hit in many])}
    plots.lines(falling, f"Similarity to: {plots.label(query)}", "nearest pictures", "cosine")
