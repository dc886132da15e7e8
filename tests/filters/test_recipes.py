"""The default recipe has what is good for all captions and pictures."""

import tomllib
from pathlib import Path

import filters

CONF = Path(__file__).resolve().parents[2] / "conf"
ALL = filters.load()


def test_the_default_recipe_has_every_general_filter() -> None:
    chosen = tomllib.loads((CONF / "default.toml").read_text("utf-8"))["filters"]
    # Stricter than what is good for all captions, bounds on what another filter of the recipe bounds
    # already, or with need of a list, a package or a search that is off unless asked for.
    assert ALL.keys() - chosen.keys() == {
        "aesthetic",
        "borders",
        "caption_flagged_words",
        "caption_overlap",
        "caption_parts_of_speech",
        "caption_punctuation",
        "caption_special_characters",
        "caption_stop_words",
        "caption_vocabulary",
        "collage",
        "concept_balance",
        "domain_cap",
        "entropy",
        "faces",
        "image_area",
        "image_format",
        "image_max_side",
        "image_url_words",
        "language_cap",
        "nsfw",
        "page_domain_cap",
        "pair_pages",
        "semantic_duplicate",
        "sharpness",
        "watermark",
        "width_to_height",
    }
