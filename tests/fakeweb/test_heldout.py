"""Held-out tasks: the same from the same seed, of pictures that no web shows, labelled truly."""

import filecmp
import json
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError
from pipeline.fakeweb.heldout import write_heldout
from pipeline.judge import tasks
from pipeline.judge.tasks import Classification, Retrieval


def test_tasks_are_made_once_and_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_heldout(str(tmp_path / name), each=1, scenes=6)
    backgrounds, english, korean, shapes = tasks.load(str(tmp_path / "a"))
    assert isinstance(backgrounds, Classification) and isinstance(shapes, Classification)
    assert (len(backgrounds.classes), len(shapes.classes)) == (9, 11)
    assert len(backgrounds.pictures) == len(shapes.pictures) == 99
    by_name = {p.path.name: p.read() for p in backgrounds.pictures}
    assert by_name == {p.path.name: p.read() for p in shapes.pictures}
    assert (
        "a red {c}" in shapes.templates and "a heart on a {c} background" in backgrounds.templates
    )
    assert isinstance(english, Retrieval) and isinstance(korean, Retrieval)
    assert english.captions[0].isascii() and not korean.captions[0].isascii()
    assert [p.read() for p in english.pictures] != [p.read() for p in korean.pictures]
    for name in ("backgrounds/red", "shapes/ring", "captions-en", "captions-ko"):
        compared = filecmp.dircmp(tmp_path / "a" / name, tmp_path / "b" / name)
        assert not compared.diff_files and not compared.left_only and not compared.right_only
    marked = tmp_path / "a" / "captions-en" / "0.jpg"
    before = marked.stat().st_mtime_ns
    write_heldout(str(tmp_path / "a"), each=1, scenes=6)
    assert marked.stat().st_mtime_ns == before
    write_heldout(str(tmp_path / "a"), seed=1, each=1, scenes=3)
    assert json.loads((tmp_path / "a" / "heldout.json").read_text())["seed"] == 1


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        write_heldout(str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"
