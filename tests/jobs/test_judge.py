"""`make judge` refuses early, before Spark starts, and says what is wrong."""

from pathlib import Path

import pytest

import filters
from jobs import judge
from jobs.line import EXTRA
from pipeline.core.run import load_config
from pipeline.judge.settings import JudgeSection
from pipeline.stages.line import LINE
from tests.conftest import ROOT

RECIPE = str(ROOT / "conf/demo.toml")


@pytest.mark.parametrize("path", sorted((ROOT / "conf/judge").glob("*.toml")), ids=lambda p: p.stem)
def test_settings_of_conf_are_laid_over_a_recipe(path: Path) -> None:
    laid = judge._laid_over(str(path))
    section = load_config(RECIPE, laid, LINE, filters.load(), EXTRA).sections["judge"]
    assert isinstance(section, JudgeSection)
    assert section.samples >= 10 * section.batch_size


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipes", "none.toml"], "no config file at none.toml"),
        (["--recipes", RECIPE, "--judge", "none.toml"], "no file of settings at none.toml"),
        (["--recipes", RECIPE, RECIPE], "is named twice"),
        (["--recipes", RECIPE, "--set", "judge.sedes=3"], "sedes"),
        (["--recipes", RECIPE, "--set", "judge.recall_k=[5]"], "must begin with 1"),
        (["--recipes", RECIPE, "--set", "judge.scaling_shares=[0, 1]"], "must lie above 0"),
        (["--recipes", RECIPE, "--evaluation", "none"], "there is no such folder"),
        (
            ["--recipes", str(ROOT / "conf/laion.toml")],
            "laion: score.model = 'ViT-B-32-quickgelu', while",
        ),
        (["--recipes", RECIPE, "--set", "run.web=live"], "give EVAL=<folder of held-out tasks>"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    base = ["judge", "--config", RECIPE, "--run", str(tmp_path / "run"), "--out"]
    assert judge.main([*base, str(tmp_path / "out"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_scaling_is_of_one_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scaling", "--config", RECIPE, "--recipes", RECIPE, RECIPE, "--out", str(tmp_path)]
    assert judge.main(words) == 2
    assert "scaling is of one recipe, not of 2" in capsys.readouterr().err


def test_a_file_laid_over_has_sections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.toml"
    for text, told in (("seeds = 3\n", "stands outside of a section"), ("=", "is not readable")):
        path.write_text(text)
        words = ["judge", "--config", RECIPE, "--recipes", RECIPE, "--judge", str(path)]
        assert judge.main([*words, "--out", str(tmp_path / "out")]) == 2
        assert told in capsys.readouterr().err


def test_recipes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "demo.toml" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("[filters.caption_words]\nmin_words = 3\n")
    config = load_config(RECIPE, [], LINE, filters.load(), EXTRA)
    words = ["judge", "--config", RECIPE, "--recipes", *map(str, paths), "--out", "x"]
    found = judge._recipes(judge._arguments(words), config)
    assert [name.rpartition("-")[0][-1] for name in found] == ["a", "b"]
    assert all(recipe.run.root == config.run.root for recipe in found.values())
