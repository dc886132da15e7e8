"""Starting a job is quick, and asks for no more than its stages need."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs import line
from pipeline.core.config import Config, RunSection
from pipeline.core.storage import Store
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.verify import VerifySection
from tests.fetch.img2dataset import write_shard

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "faiss",
    "open_clip",
    "matplotlib",
    "pandas",
    "scipy",
    "PIL",
    "aiohttp",
    "trustme",
)


def test_a_job_starts_without_what_only_its_tasks_need() -> None:
    code = f"import sys, jobs.line; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_only_the_whole_embedded_web_is_held_against_its_truth(tmp_path: Path) -> None:
    def loaded(*changes: str) -> Config:
        own = [f"run.root={tmp_path / 'run'}", f"demo.folder={tmp_path / 'web'}", *changes]
        config = line._load(str(ROOT / "conf/demo.toml"), own)
        return line._load(str(ROOT / "conf/demo.toml"), [*own, *line._own_archives(config)])

    assert line._is_whole_web(loaded())
    assert not line._is_whole_web(loaded(f"extract.archives=['{tmp_path}/web/archives/0*']"))
    assert not line._is_whole_web(loaded("extract.lists=['urls.csv']"))


def test_stages_after_the_download_of_a_replay_need_no_archives(tmp_path: Path) -> None:
    config = line._load(str(ROOT / "conf/replay.toml"), [f"run.root={tmp_path / 'run'}"])
    assert isinstance(config.run, RunSection) and config.run.web == "replay"
    with line._web(config, ["decide"]) as overrides:
        assert overrides == []
    assert not (tmp_path / "run").exists()


def test_lists_take_the_place_of_the_recipes_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the recipe reads, --from is all that is read; what it names must be there."""

    def status(source: Path, *more: str) -> int:
        argv = [
            "--config",
            str(ROOT / "conf/default.toml"),
            "--set",
            f"run.root={tmp_path / 'run'}",
        ]
        return line.run_stages("extract", argv=[*argv, "--from", str(source), *more])

    assert status(tmp_path / "none.parquet") == 2
    assert f"no list at {tmp_path}/none.parquet" in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text("link,words\n")
    assert status(tmp_path) == 2
    assert "bad.csv has no url column: found 'link', 'words'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        status(tmp_path, "--archives", "x")


def test_pictures_beside_a_list_are_taken_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that img2dataset wrote is both a list and where its pictures are."""
    given: list[tuple[object, object]] = []

    def run(names: object, stages: object, config: Config, redo: bool) -> None:
        section = config.sections["download"]
        assert isinstance(section, DownloadSection)
        given.append((config.sections["extract"].lists, section.adopt))  # type: ignore[attr-defined]

    monkeypatch.setattr(line, "run", run)
    write_shard(tmp_path / "with", 0, [("http://a.test/x.jpg", b"x")])
    write_shard(tmp_path / "without", 0, [("http://a.test/x.jpg", b"x")]).unlink()
    argv = ["--config", str(ROOT / "conf/default.toml"), "--from"]
    folder, other = (str(tmp_path / name) for name in ("with", "without"))
    assert line.run_stages("download", argv=[*argv, folder]) == 0
    assert line.run_stages("download", argv=[*argv, other]) == 0
    assert line.run_stages("download", argv=[*argv, folder, "--set", "download.adopt="]) == 0
    assert given == [((folder,), folder), ((other,), ""), ((folder,), "")]


def test_verify_takes_the_list_that_the_run_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(names: object, stages: object, config: Config, redo: bool) -> None:
        section = config.sections["verify"]
        assert isinstance(section, VerifySection)
        asked.append((*section.expected, section.url_column))

    monkeypatch.setattr(line, "run", run)
    root = tmp_path / "run"
    argv = ["--config", str(ROOT / "conf/default.toml"), "--set", f"run.root={root}"]
    assert line.verify_against(argv) == 2
    assert "EXPECTED=" in capsys.readouterr().err
    config = {"extract": {"lists": ["/data/강.parquet"], "url_column": "link"}}
    Store(str(root)).write_json("_stages/extract.json", {"state": "done", "config": config})
    assert line.verify_against(argv) == 0
    assert line.verify_against([*argv, "--expected", "other.csv"]) == 0
    assert asked == [("/data/강.parquet", "link"), ("other.csv", "")]
