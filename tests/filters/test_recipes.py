"""Recipes name filters that exist, with settings those take."""

import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import filters

CONF = Path(__file__).resolve().parents[2] / "conf"
ALL = filters.load()


@pytest.mark.parametrize("recipe", ["default", "coyo", "laion", "datacomp", "korean"])
def test_filters_of_a_recipe(recipe: str) -> None:
    text = (CONF / f"{recipe}.toml").read_text("utf-8")
    chosen = tomllib.loads(text)["filters"]
    assert "consent" in chosen
    for name, settings in chosen.items():
        TypeAdapter(ALL[name]).validate_python(settings)


def test_the_default_recipe_has_every_general_filter() -> None:
    chosen = tomllib.loads((CONF / "default.toml").read_text("utf-8"))["filters"]
    # Bounds on what another filter of the recipe bounds already, for those who want them otherwise.
    others = {
        "caption_special_characters", "image_area", "image_format", "image_max_side", "pair_pages",
        "width_to_height",
    }  # fmt: skip
    # And one that needs a search that is off unless asked for.
    assert ALL.keys() - chosen.keys() == others | {"semantic_duplicate"}
