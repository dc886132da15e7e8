"""The filter on SemDeDup's measure: its bound, and the recipe it needs."""

from pathlib import Path

import pytest

import filters
from filters.semantic_duplicate import SemanticDuplicate
from pipeline.core.config import RunSection, load
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound
from pipeline.stages.cluster import ClusterSection

SECTIONS = {"run": RunSection, "cluster": ClusterSection}


def test_epsilon_is_what_may_lack_to_one() -> None:
    assert SemanticDuplicate(epsilon=0.25).bounds() == (Bound("semantic_similarity", high=0.75),)


@pytest.mark.parametrize("epsilon", [-0.1, 2.1, float("nan")])
def test_an_epsilon_that_is_no_distance_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        SemanticDuplicate(epsilon=epsilon)


def test_a_recipe_that_bounds_what_is_not_searched_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[run]\nroot = 'r'\n[filters.semantic_duplicate]\n")
    with pytest.raises(ConfigError, match=r"\[filters.semantic_duplicate\] needs cluster.semantic"):
        load(str(recipe), (), SECTIONS, filters.load())
    config = load(str(recipe), ("cluster.semantic=true",), SECTIONS, filters.load())
    assert list(config.filters) == ["semantic_duplicate"]
