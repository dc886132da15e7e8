"""The alarm: rings when too little succeeds, once, with what to do; tallies reach the driver."""

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.storage import Store
from pipeline.fetch import alarm
from pipeline.fetch.alarm import SuccessAlarm, tally, watching
from pipeline.fetch.settings import DownloadSection

SETTINGS = DownloadSection(alarm_images=100, alarm_min_ok_share=0.5, alarm_max_dns_share=0.3)


def test_rings_once_until_things_are_well_again() -> None:
    bell = SuccessAlarm(SETTINGS)
    assert bell.add({"ok": 100}) is None
    assert bell.add({"http_404": 40, "timeout": 5}) is None
    line = bell.add({"http_404": 35, "ok": 20})
    assert line is not None
    assert "download.alarm_min_ok_share = 50%" in line and "http_404 7" in line
    assert bell.add({"http_404": 50}) is None
    assert bell.add({"ok": 200}) is None
    assert bell.add({"http_404": 200}) is not None


def test_names_have_a_line_of_their_own() -> None:
    line = SuccessAlarm(SETTINGS).add({"ok": 65, "dns": 20, "dns_unavailable": 15})
    assert line is not None and "35% of the last 100 images failed for their host's name" in line
    assert "unbound" in line and "download.dns_servers" in line
    assert SuccessAlarm(SETTINGS).add({"ok": 70, "dns": 30}) is None


def test_too_few_to_judge_and_consent_do_not_ring() -> None:
    bell = SuccessAlarm(SETTINGS)
    assert bell.add({"http_404": 99}) is None
    assert bell.add({"robots": 5000, "opted_out": 500}) is None
    assert bell.add({"http_404": 1}) is not None


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["ok", "dns", "timeout"]), st.integers(0, 60)), max_size=30
    )
)
def test_judges_whole_batches_of_at_least_the_last_images(batches: list[dict[str, int]]) -> None:
    """Against the rule said plainly: the shortest tail of batches that holds enough images."""
    bell, rings = SuccessAlarm(SETTINGS), False
    for end in range(1, len(batches) + 1):
        line = bell.add(batches[end - 1])
        tail: Counter[str] = Counter()
        for batch in reversed(batches[:end]):
            tail.update(batch)
            if tail.total() >= 100:
                break
        if tail.total() < 100:
            assert line is None
            continue
        bad = tail["dns"] / tail.total() > 0.3 or tail["ok"] / tail.total() < 0.5
        assert (line is not None) == (bad and not rings)
        rings = bad


def test_tallies_reach_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "_WRITE_EVERY_S", 0.02)
    monkeypatch.setattr(alarm, "_READ_EVERY_S", 0.02)
    store, lines = Store(str(tmp_path)), list[str]()
    (tmp_path / alarm.FOLDER).mkdir()
    (tmp_path / alarm.FOLDER / "part-00000.json").write_text('{"timeout": 500}')
    with watching(store, SETTINGS, lines.append):
        with tally(store, 3) as ended:
            for _ in range(60):
                ended("timeout")
            time.sleep(0.2)
            assert not lines, "the tally of an earlier run, or too few"
            with tally(store, 4) as other:
                for _ in range(40):
                    other("http_404")
            deadline = time.monotonic() + 10
            while not lines and time.monotonic() < deadline:
                time.sleep(0.02)
            # While part 3 still runs.
            assert len(lines) == 1 and "timeout 60%, http_404 40%" in lines[0]
            # Begun again after its task was lost: nothing is counted twice.
        with tally(store, 3) as again:
            again("ok")
        time.sleep(0.1)
    assert len(lines) == 1
    assert not (tmp_path / alarm.FOLDER).exists()


def test_a_tally_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / alarm.FOLDER).write_text("in the way")
    told = []
    with tally(Store(str(tmp_path)), 0) as ended:
        ended("ok")
        told.append("ok")
    assert told == ["ok"] and (tmp_path / alarm.FOLDER).read_text() == "in the way"
