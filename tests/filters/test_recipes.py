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
    # One double-counts digits and spaces with the alphanumeric rule; for those who want it stricter.
    # The others need a search or a scorer that is off unless asked for.
    asked_for = {name for name, kind in ALL.items() if kind.needs}
    assert ALL.keys() - chosen.keys() == {"caption_special_characters"} | asked_for
