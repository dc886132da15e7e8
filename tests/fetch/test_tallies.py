"""Tallies: how pictures end reaches the driver while their parts are still under way."""

import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.storage import Store
from pipeline.fetch import tallies
from pipeline.fetch.tallies import Tallies, clear, tally


def test_tallies_reach_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "_WRITE_EVERY_S", 0.02)
    monkeypatch.setattr(tallies, "_READ_EVERY_S", 0.0)
    store = Store(str(tmp_path))
    (tmp_path / tallies.FOLDER).mkdir()
    (tmp_path / tallies.FOLDER / "part-00000.json").write_text('{"timeout": 500}')
    read = Tallies(store)
    with tally(store, 3) as ended:
        for _ in range(60):
            ended("timeout")
        for status in ("ok", "not_modified", "robots", "opted_out", "filtered"):
            ended(status)
        seen: Counter[str] = Counter()
        deadline = time.monotonic() + 10
        while seen.total() < 62 and time.monotonic() < deadline:
            time.sleep(0.02)
            seen.update(read.grown())
        # While the task still runs: not the tally of an earlier run, nothing that was not asked
        # for, and a picture that is as it was is well.
        assert seen == {"timeout": 60, "kept": 2}
    # Begun again after its task was lost: nothing is counted twice.
    with tally(store, 3) as again:
        again("ok")
    assert +read.grown() == {}
    clear(store)
    assert not (tmp_path / tallies.FOLDER).exists()


def test_they_are_not_read_again_within_a_few_seconds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    read = Tallies(store)
    with tally(store, 0) as ended:
        ended("ok")
    assert not read.grown()


def test_a_tally_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / tallies.FOLDER).write_text("in the way")
    told = []
    with tally(Store(str(tmp_path)), 0) as ended:
        ended("ok")
        told.append("ok")
    assert told == ["ok"] and (tmp_path / tallies.FOLDER).read_text() == "in the way"
