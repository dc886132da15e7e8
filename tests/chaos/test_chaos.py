"""`make chaos` with a few strikes: what it tells, that the run stands them, and what it leaves."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import processes
from tests.chaos.campaign import Campaign, Settings
from tests.chaos.folder import Run, mount, release_digests, unmount
from tests.chaos.plan import Strike
from tests.chaos.processes import Job, descendants
from tests.chaos.report import Blow, Verdict, line, render
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    if not mount(place):
        pytest.skip("needs to mount a small file system")
    yield place
    unmount(place)


def pretend(job: str, arguments: list[str], log: Path, spark_folder: Path, cores: int = 2) -> Job:
    """In place of `processes.start`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.pretend", job, *arguments],
        cwd=ROOT,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Job(process, log, time.time())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_campaign_on_jobs_that_pretend(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is struck, how it goes on, and how it is judged, with the real records and tables."""
    monkeypatch.setattr(processes, "start", pretend)
    campaign = Campaign(tmp_path, disk, Settings(5, 12, 0, 14))
    verdict = campaign.run()
    told = render(campaign, verdict)
    assert verdict.is_good, told
    assert len(campaign.blows) == 12 and verdict.compared > 5, told
    full = [b for b in campaign.blows if b.strike.kind == "full"]
    assert all("disk full" in b.said or b.then == "had nothing left to write" for b in full), told
    for blow in campaign.blows:
        if "is damaged" in blow.said:
            assert "removed" in blow.then, told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_not_as_it_would_have_been_fails(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "start", pretend)
    campaign = Campaign(tmp_path, disk, Settings(5, 0, 0, 4))
    finish = campaign._finish

    def finish_and_spoil() -> None:
        finish()
        (disk / "run" / "release" / "sizes.json").write_text("{}")
        (disk / "run" / ".writing-0-left").touch()

    monkeypatch.setattr(campaign, "_finish", finish_and_spoil)
    monkeypatch.setattr(campaign, "_verify", list)
    verdict = campaign.run()
    assert verdict.faults == [
        "release/sizes.json is not that of the undisturbed run",
        ".writing-0-left was left behind",
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_behind_earlier_damage_is_still_asked_for(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damage is read before anything is written: it is mended as told, the disk still full."""
    monkeypatch.setattr(processes, "start", pretend)
    campaign = Campaign(tmp_path, disk, Settings(5, 0, 0, 4))
    campaign._start()
    campaign._wait(lambda: False)
    campaign._over()
    part = disk / "run/shard_rows/part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    fill, fills = Run.fill, []

    def fill_from_the_second_on(run: Run) -> Path:
        fills.append(run)
        filler = disk / "filler"
        filler.touch()
        return filler if len(fills) == 1 else fill(run)

    monkeypatch.setattr(Run, "fill", fill_from_the_second_on)
    blow = Blow(Strike("report", "full", 0.5, 1), "report", 0.0, "")
    campaign.blows.append(blow)
    campaign._full(campaign._start("report", "--redo"), blow, random.Random(1))
    assert not blow.wrong and len(fills) == 2, blow
    assert blow.then == (
        "removed shard_rows/part-00000.parquet as told, started again, room made, started again"
    )
    assert "is damaged" in blow.said and "disk full" in blow.said
    assert not (disk / "filler").exists()


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_run_stands_a_few_strikes_and_nothing_is_left(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    command = [sys.executable, "-m", "tests.chaos", "--seed", "3", "--strikes", "5"]
    done = subprocess.run(
        [*command, "--pages", "60", "--minutes", "35", "--out", str(table)],
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
