"""Writing a web to disk: once, whole or not at all, the same whatever the number of processes."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.core.errors import ConfigError
from pipeline.fakeweb import files
from pipeline.fakeweb.build import write_web
from pipeline.fakeweb.config import DemoSection

SMALL = DemoSection(pages=20, processes=1)


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def test_the_same_web_whatever_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PACK_IMAGES", 50)
    write_web(str(tmp_path / "a"), SMALL)
    write_web(str(tmp_path / "b"), DemoSection(pages=20, processes=2))
    assert _sums(tmp_path / "a") == _sums(tmp_path / "b")


def test_a_finished_web_is_left_alone_and_another_replaced(tmp_path):
    folder = tmp_path / "web"
    write_web(str(folder), SMALL)
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*")}
    write_web(str(folder), SMALL)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*")} == before
    first = _sums(folder)
    write_web(str(folder), DemoSection(pages=20, seed=5, processes=1))
    assert _sums(folder) != first
    assert [f.name for f in tmp_path.iterdir()] == ["web"]


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ConfigError, match="holds something else"):
        write_web(str(tmp_path), SMALL)
    assert (tmp_path / "thesis.txt").exists()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pipeline.fakeweb.build.write_truth", fail)
    with pytest.raises(OSError, match="disk full"):
        write_web(str(tmp_path / "web"), SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [{"pages": 1}, {"wat_share": 2}, {"colour": "red"}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        DemoSection(**bad)
