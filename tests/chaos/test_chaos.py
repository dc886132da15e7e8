"""`make chaos` with a few strikes: what it tells, that the run stands them, and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.folder import release_digests
from tests.chaos.plan import Strike
from tests.chaos.processes import descendants
from tests.chaos.report import Blow, Verdict, line
from tests.conftest import ROOT


def test_a_strike_is_a_row_of_a_table() -> None:
    strike = Strike("score", "damage", 0.5, 1)
    blow = Blow(strike, "score", 1.25, "2 of 6 parts", "a|b", "x is\ndamaged", "removed", "it lied")
    told = "| 7 | score, 1.2 s, 2 of 6 parts | file damaged: a/b | x is damaged | removed WRONG: it lied |"
    assert line(7, blow) == told
    assert Verdict().is_good and not Verdict(["x"]).is_good


def test_a_changed_release_is_seen(tmp_path: Path) -> None:
    (tmp_path / "release" / ".meta").mkdir(parents=True)
    manifest = tmp_path / "release" / ".meta" / "manifest.json"
    manifest.write_text('{"id": "a", "stages": {"shard": "1"}}')
    before = release_digests(tmp_path)
    manifest.write_text('{"id": "a", "stages": {"shard": "2"}}')
    assert release_digests(tmp_path) == before
    manifest.write_text('{"id": "b", "stages": {"shard": "2"}}')
    assert release_digests(tmp_path) != before
    (tmp_path / "release" / "00000.tar").touch()
    assert ".meta/manifest.json" in before and "00000.tar" in release_digests(tmp_path)


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_stands_a_few_strikes_and_nothing_is_left(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    command = [sys.executable, "-m", "tests.chaos", "--seed", "3", "--strikes", "5"]
    done = subprocess.run(
        [*command, "--pages", "60", "--minutes", "20", "--out", str(table)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 2 and "needs to mount" in done.stderr:
        pytest.skip("needs to mount a small file system")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    told = table.read_text()
    assert "PASSED: the release has the bytes" in told and told.count("\n| ") == 6
    assert not list(tmp_path.glob("pairmill-*"))
    assert not [p for p in descendants(1) if str(tmp_path) in p.command]
