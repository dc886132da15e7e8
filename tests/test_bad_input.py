"""Bad input ends in one clear line and an exit status, before anything is written."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.line import run_stages
from tests.conftest import Milled
from tests.submitted import demo, wait_for

ROOT = Path(__file__).resolve().parent.parent
RECIPE = """
[run]
root = "{root}"
[extract]
archives = ["{archives}"]
[download]
contact = "crawl@example.org"
[filters.caption_length]
"""


def refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    archives: str = "none.warc.gz",
    overrides: tuple[str, ...] = (),
    stages: tuple[str, ...] = ("extract",),
) -> str:
    """Run stages that must be refused; the one line they print."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(root=tmp_path / "run", archives=archives))
    argv = ["--config", str(recipe), *(word for o in overrides for word in ("--set", o))]
    assert run_stages(*stages, argv=argv) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("pairmill: ") and "\n" not in message and "Traceback" not in message
    assert not (tmp_path / "run").exists()
    return message


def test_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(tmp_path, capsys, overrides=("download.timeout=3",))
    assert "download.timeout" in message and "timeout_s" in message


def test_wrong_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(tmp_path, capsys, overrides=("dedupe.parts=many",))
    assert "dedupe.parts = 'many'" in message


def test_unknown_filter_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(tmp_path, capsys, overrides=("filters.caption_length.min=3",))
    assert "min_chars" in message and "__" not in message


def test_missing_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "gone.warc.gz"
    assert str(missing) in refused(tmp_path, capsys, archives=str(missing))


def test_pattern_that_matches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "*.warc.gz" in refused(tmp_path, capsys, archives=f"{tmp_path}/*.warc.gz")


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"", b"<html>not an archive</html>"])
def test_archive_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "pictures.warc.gz"
    file.write_bytes(content)
    assert str(file) in refused(tmp_path, capsys, archives=str(file))


def test_no_contact_for_the_live_web(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ('download.contact=""',)
    message = refused(tmp_path, capsys, overrides=overrides, stages=("download",))
    assert "download.contact" in message and "required" in message


def test_missing_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("score.model=ViT-B-32", "score.pretrained=/weights/gone.pt")
    message = refused(tmp_path, capsys, overrides=overrides, stages=("score",))
    assert "/weights/gone.pt" in message and "score.pretrained" in message


def test_no_java(tmp_path: Path) -> None:
    """Without a recorded JVM, JAVA_HOME or java on PATH the launcher says what to do."""
    folder = tmp_path / "checkout"
    (folder / "conf" / "environment").mkdir(parents=True)
    shutil.copy(ROOT / "conf/environment/submit.sh", folder / "conf/environment")
    (folder / ".venv" / "bin").mkdir(parents=True)
    launcher = folder / ".venv" / "bin" / "spark-submit"
    launcher.write_text("#!/bin/sh\necho started\n")
    launcher.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "grep"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(tools / "bash"), str(folder / "conf/environment/submit.sh"), "job.py"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "no Java 17" in done.stderr and "make setup" in done.stderr
    assert "started" not in done.stdout


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_disk_full_in_the_middle_then_continued(spark: Any, milled: Milled, tmp_path: Path) -> None:
    """A run that fills its disk says so in one line and goes on when there is room again."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=280m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a small file system")
    try:
        root = milled.before("download", disk / "run")
        sets = (f"run.root={root}", *milled.sets)

        def state() -> str:
            return str(json.loads((root / "_stages/download.json").read_text())["state"])

        rest = disk / "rest"
        job = demo(sets, job="download")
        wait_for(lambda: any(root.glob("raw/.writing-*")), "the first pictures", job)
        rest.write_bytes(b"\0" * max(0, shutil.disk_usage(disk).free - (1 << 18)))
        told, _ = job.communicate(timeout=600)
        assert job.returncode == 1
        assert told.strip().splitlines()[-1].startswith("pairmill: disk full"), told[-2000:]
        assert "Traceback" not in told
        assert state() == "started"
        rest.unlink()
        argv = ["--config", str(ROOT / "conf/demo.toml"), *(w for s in sets for w in ("--set", s))]
        assert run_stages("download", argv=argv) == 0
        assert state() == "done"
        assert downloaded(root) == downloaded(milled.root)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def downloaded(root: Path) -> list[bytes]:
    """Ids of what was asked for, in order."""
    return sorted(pq.read_table(root / "images", columns=["image_id"])["image_id"].to_pylist())
