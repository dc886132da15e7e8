"""Every recipe in conf/ is valid against every section, filters included."""

from pathlib import Path

import pytest

import filters
from jobs.line import EXTRA
from pipeline.core.config import RunSection
from pipeline.core.run import load_config
from pipeline.stages.line import LINE

RECIPES = sorted((Path(__file__).resolve().parent.parent / "conf").glob("*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_is_valid(recipe: Path) -> None:
    config = load_config(str(recipe), (), LINE, filters.load(), EXTRA)
    assert isinstance(config.run, RunSection)
    assert config.filters


def test_there_is_a_recipe_for_each_name_the_readme_gives() -> None:
    assert {"demo", "default", "replay", "coyo", "laion", "datacomp", "korean"} <= {
        path.stem for path in RECIPES
    }
