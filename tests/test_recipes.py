"""Every recipe in conf/ is valid, gives a source for every value, and is what docs/recipes.md says."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import filters
from jobs.line import EXTRA
from pipeline.core.config import Config, RunSection
from pipeline.core.run import load_config
from pipeline.score.compat import import_open_clip
from pipeline.stages.line import LINE

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "conf").glob("*.toml"))
# Those that docs/recipes.md tells rule by rule.
TOLD = ("coyo", "laion", "datacomp", "datacomp-clip", "korean", "permissive")
# What a user puts there, and not a rule.
OF_THE_USER = {"run", "extract", "download.contact"}
# A setting in the table, as `caption_length.min_chars = 6`.
SETTING = re.compile(r"`(\w+)((?:\.\w+)+) = ([^`]+)`")
# A section in the last column, which the reader may add.
SECTION = re.compile(r"`\[(\w+)\.?([\w.]*)\]`")


def load(name: str, overrides: list[str] | None = None) -> Config:
    path = ROOT / "conf" / f"{name}.toml"
    return load_config(str(path), overrides or [], LINE, filters.load(), EXTRA)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe_is_valid(recipe: Path) -> None:
    config = load_config(str(recipe), (), LINE, filters.load(), EXTRA)
    assert isinstance(config.run, RunSection)
    assert config.filters


def test_there_is_a_recipe_for_each_name_the_readme_gives() -> None:
    assert {"demo", "default", "replay", *TOLD} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_bound_has_its_source_beside_it(recipe: Path) -> None:
    """In the recipes that are told rule by rule, every other value as well."""
    section, above = "", ""
    for line in recipe.read_text("utf-8").splitlines():
        if found := re.fullmatch(r"\[([\w.]+)\](?: *#.*)?", line):
            section = found[1]
        elif re.match(r"[\w.]+ = ", line):
            is_rule = section.startswith("filters.") or recipe.stem in TOLD
            if is_rule and not {section, f"{section}.{line.split()[0]}"} & OF_THE_USER:
                assert re.search(r"# *\S", line + above), f"[{section}] {line}: without a source"
        above = line if line.startswith("#") else ""


@pytest.mark.parametrize("name", TOLD)
def test_a_source_in_brackets_is_named_at_the_top(name: str) -> None:
    head, _, body = (ROOT / "conf" / f"{name}.toml").read_text("utf-8").partition("\n[")
    for line in body.splitlines():
        _, _, comment = line.partition(" # ")
        for source in re.findall(r"\[([\w-]+)\]", comment):
            assert f"[{source}]" in head, f"{line}: [{source}] is named nowhere"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_nothing_is_published_without_consent_first(recipe: Path) -> None:
    assert list(tomllib.loads(recipe.read_text("utf-8"))["filters"])[0] == "consent"


def tables(name: str) -> list[str]:
    """The tables of a recipe's section in docs/recipes.md: its own, then those of overrides."""
    text = (ROOT / "docs/recipes.md").read_text("utf-8")
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## )", text, re.M | re.S)
    return [block for block in section.split("\n\n") if block.startswith("|")]


def settings(table: str) -> Iterator[tuple[str, str, Any]]:
    """First name, rest and value of every setting in the column of ours, which is the fourth."""
    for row in table.splitlines()[2:]:
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 5, row
        for first, rest, value in SETTING.findall(cells[3]):
            yield first, rest[1:], tomllib.loads(f"value = {value}")["value"]


def overrides(name: str) -> list[list[str]]:
    """The SET='...' in a recipe's comments, in order."""
    text = (ROOT / "conf" / f"{name}.toml").read_text("utf-8")
    comments = "\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    return [found.split() for found in re.findall(r"SET='([^']+)'", comments)]


def value_of(config: Config, first: str, rest: str) -> Any:
    """As JSON has it."""
    if first in config.filters:
        return plain(config.filters[first].settings()[rest])
    return plain(config.sections[first].model_dump(mode="json")[rest])


def plain(value: Any) -> Any:
    """Of a table only what is said, not what stands by default."""
    if isinstance(value, dict):
        defaults = (("of", "measured"), ("precision", "auto"))
        stated = {k: plain(v) for k, v in value.items() if v is not None}
        return {k: v for k, v in stated.items() if (k, v) not in defaults}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", TOLD)
def test_the_docs_table_is_what_the_recipe_does(name: str) -> None:
    own, *others = tables(name)
    sets = overrides(name)
    assert len(others) == len(sets)
    for table, changes in zip([own, *others], [[], *sets], strict=True):
        config = load(name, changes)
        found = list(settings(table))
        assert found
        for first, rest, value in found:
            assert value_of(config, first, rest) == value, f"{first}.{rest}"
        told = {f"{first}.{rest}" for first, rest, _ in found}
        changed = {c.partition("=")[0].removeprefix("filters.") for c in changes}
        assert changed <= told


@pytest.mark.parametrize("name", TOLD)
def test_every_value_of_the_recipe_is_in_the_docs_table(name: str) -> None:
    given = tomllib.loads((ROOT / "conf" / f"{name}.toml").read_text("utf-8"))
    chosen = given.pop("filters")
    told = {f"{first}.{rest}" for first, rest, _ in settings(tables(name)[0])}
    for section, values in {**given, **chosen}.items():
        for key in values:
            if not {section, f"{section}.{key}"} & OF_THE_USER:
                assert f"{section}.{key}" in told


def test_sections_that_the_docs_name_are_there() -> None:
    text = (ROOT / "docs/recipes.md").read_text("utf-8")
    kinds = {stage.name: stage.config for stage in LINE}
    found = SECTION.findall(text)
    assert found
    for first, rest in found:
        if first == "filters":
            assert rest in filters.load()
        else:
            assert not rest or rest.partition(".")[0] in kinds[first].model_fields


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_the_architecture_is_the_one_that_its_weights_were_trained_in(name: str) -> None:
    """Weights load into one with another activation as well, and every similarity is off."""
    for changes in [[], *overrides(name)]:
        score: Any = load(name, changes).sections["score"]
        open_clip = import_open_clip()
        for model in (score, *getattr(score, "models", {}).values()):
            if model.model == "pairmill-tiny":
                continue
            weights = open_clip.pretrained.get_pretrained_cfg(model.model, model.pretrained)
            assert weights, f"open_clip has no {model.pretrained} for {model.model}"
            architecture = open_clip.get_model_config(model.model)
            assert architecture.get("quick_gelu", False) == weights.get("quick_gelu", False)
