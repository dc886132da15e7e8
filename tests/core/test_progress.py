"""Progress: words, lines that become rarer and hold no control characters, a bar on a terminal."""

import io
import re
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.core import progress
from pipeline.core.progress import Reading, duration, told, watch


class Tracker:
    """Spark as far as progress looks at it."""

    def __init__(self, executors: int = 2) -> None:
        self.failed, self.executors, self.active = 0, executors, [4]
        self.sparkContext = self
        self._jsc = SimpleNamespace(sc=lambda: SimpleNamespace(statusTracker=self.statusTracker))

    def statusTracker(self) -> "Tracker":
        return self

    def getActiveStageIds(self) -> list[int]:
        return self.active

    def getStageInfo(self, stage: int) -> Any:
        return SimpleNamespace(
            stageId=stage, numFailedTasks=self.failed, numCompletedTasks=3, numTasks=9
        )

    def getExecutorInfos(self) -> list[None]:
        return [None] * (1 + self.executors)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_words() -> None:
    reading = Reading(1_500, 10_000, "parts", 500, "71% of 12,345 images kept")
    assert told(reading, 500.0) == (
        "1,500 of 10,000 parts, 2.0 a second, 1 h 11 min left, 71% of 12,345 images kept"
    )
    assert told(Reading(3, 64, "parts"), 600.0) == "3 of 64 parts, 0.3 a minute, 3 h 23 min left"
    # Nothing came yet; what is done was there before; nothing is known.
    assert told(Reading(0, 9), 5.0) == told(Reading(0, 9, before=0), 0.0) == "0 of 9 tasks"
    assert told(Reading(4, 9, "parts", 4), 5.0) == "4 of 9 parts"
    assert told(Reading(9, 9), 9.0) == "9 of 9 tasks, 1.0 a second"
    assert told(Reading(0, 0), 9.0) == "starting"
    assert duration(20) == "less than a minute" and duration(90_061) == "1 d 1 h 1 min"


def test_tasks_of_a_query_are_added_up() -> None:
    spark = Tracker()
    tasks = progress._Tasks(spark, "decide: x")  # type: ignore[arg-type]
    assert tasks.read() == Reading(3, 9)
    spark.active = [5, 6]  # the first has ended
    assert tasks.read() == Reading(9 + 3 + 3, 27)
    spark.active = []
    assert tasks.read() == Reading(27, 27)
    # How many are still to come is not known.
    assert told(Reading(15, 27), 5.0) == "15 of 27 tasks, 3.0 a second"


def test_lines_become_rarer_and_are_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress._shown("download: images") as show:
        for second in range(24 * 3600):
            clock[0] += 1
            show(Reading(second, 24 * 3600, "parts", 0, "71% of 5 images kept"))
    lines = capsys.readouterr().err.splitlines()
    # Every 10 s at first, every 5 minutes at last: a day makes no more than some 350 lines.
    assert 288 < len(lines) < 350
    assert re.fullmatch(
        r"download: images: 9 of 86,400 parts, 54\.0 a minute, 1 d( \d+ h)?( \d+ min)? left, "
        r"71% of 5 images kept, 10 s so far",
        lines[0],
    )
    assert not any(
        ord(character) < 32 or ord(character) == 127 for line in lines for character in line
    )


@pytest.mark.parametrize("is_dumb", [False, True])
def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, is_dumb: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb" if is_dumb else "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with progress._shown("score: embeddings") as show:
        show(Reading(3, 9, "parts", 0, "detail"))
        time.sleep(0.2)
    shown = terminal.getvalue()
    assert ("\x1b" in shown) == (not is_dumb)
    assert is_dumb or ("score: embeddings" in shown and "3 of 9 parts" in shown)


def test_failed_tasks_and_lost_executors_are_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_POLL_S", 0.01)
    spark, looked = Tracker(), threading.Semaphore(0)

    def read() -> Reading:
        looked.release()
        return Reading(1, 2)

    with capture_logs() as logs, watch(spark, "score: x", read):  # type: ignore[arg-type]
        looked.acquire()
        spark.failed, spark.executors = 2, 1
        looked.acquire()
        looked.acquire()
    assert logs == [
        {"event": "tasks_failed", "label": "score: x", "tasks": 2, "log_level": "warning"},
        {"event": "executors", "before": 2, "now": 1, "log_level": "warning"},
    ]


def test_what_cannot_be_read_just_now_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_POLL_S", 0.01)
    times = []

    def read() -> Reading:
        times.append(1)
        raise OSError("the storage is away")

    until = time.monotonic() + 60
    with watch(Tracker(), "extract: pairs", read):  # type: ignore[arg-type]
        while len(times) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(times) >= 3  # it asked again, and the block ended as it should


def test_a_query_is_told_when_it_is_done() -> None:
    with capture_logs() as logs, watch(Tracker(), "decide: cutoffs"):  # type: ignore[arg-type]
        pass
    assert [(line["event"], line["label"]) for line in logs] == [("step_done", "decide: cutoffs")]
