"""Where a run stands, told from its folder: what is done, outdated, running, stopped or missing."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core import records
from pipeline.core.accounts import Account
from pipeline.core.claim import claimed
from pipeline.core.logs import open_log
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import Store
from pipeline.core.tables import Table, column
from pipeline.stats.state import StageState, render, states

ROWS = pa.schema([column("n", pa.int64(), "a number")])
FIRST, SECOND, THIRD = (Table(name, "Numbers.", ("n",), ROWS) for name in ("a", "b", "c"))


def build(_: Any) -> list[Account]:
    raise AssertionError("status builds nothing")


LINE = (
    Stage("first", (), (FIRST,), StageSection, build),
    Stage("second", (FIRST,), (SECOND,), StageSection, build),
    Stage("third", (SECOND,), (THIRD,), StageSection, build),
)
CONFIG: dict[str, dict[str, Any]] = {s.name: {s.name: {"size": 1}} for s in LINE}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """first is done; second has published 3 of 8 parts, one of them before this attempt."""
    made = Store(str(tmp_path))
    first, second, _ = LINE
    records.begin(made, first, CONFIG["first"] | {"outside": "weights"}, {})
    account = Account("rows")
    account.keep(7)
    account.drop("odd", 3)
    records.finish(made, first, [account], 12.0)
    records.begin(made, second, CONFIG["second"], records.inputs(made, second, LINE))
    for part in range(3):
        with made.publish_part(SECOND, part):
            pass
    records.write_progress(made, "second", SECOND, 8, 7)
    return made


def found(store: Store, **changes: Any) -> dict[str, StageState]:
    return {s.stage: s for s in states(store, LINE, CONFIG | changes)}


def test_done_stopped_and_missing(store: Store) -> None:
    told = found(store)
    assert [s.state for s in told.values()] == ["done", "stopped", "missing"]
    assert "7 of 10 rows" in told["first"].detail and not told["first"].changed
    assert (told["second"].parts_done, told["second"].parts) == (3, 8)
    assert told["second"].left_s is None
    assert "nobody works on it" in render(store, list(told.values()))


def test_a_running_stage_has_a_rate_and_time_left(store: Store) -> None:
    path = Path(store.path("_progress/second.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started_at": time.time() - 120}))
    with claimed(store):
        second = found(store)["second"]
        text = render(store, list(found(store).values()))
    assert second.state == "running" and second.parts_per_s is not None
    assert second.parts_per_s * 60 == pytest.approx(1.0, rel=0.05)  # two of this attempt's
    assert second.left_s == pytest.approx(300, rel=0.05)
    assert "3 of 8 parts, 1.0 a minute, 5 min left" in text and "held by process" in text


def test_a_changed_key_is_named_with_what_would_be_done_again(store: Store) -> None:
    told = found(store, first={"first": {"size": 2}})
    assert told["first"].changed == ("first.size: 1 -> 2",)
    text = render(store, list(told.values()))
    assert "changed: first.size: 1 -> 2" in text
    assert "`make first` does first, second again" in text


def test_a_stage_whose_input_was_done_again_is_outdated(store: Store) -> None:
    second = LINE[1]
    records.finish(store, second, [], 1.0)
    assert found(store)["second"].state == "done"
    records.discard(store, [LINE[0]])
    assert found(store)["second"].state == "outdated"


def test_alarms_of_the_last_run_are_told_until_they_are_over(store: Store) -> None:
    with open_log(store) as log:
        log.warning("alarm", stage="first", unit="rows", figure="kept", text="an older run's")
    (file,) = Path(store.path("_logs")).iterdir()
    file.rename(file.with_name("20200101T000000-0123abcd.jsonl"))
    with open_log(store) as log:
        log.warning("alarm", stage="first", unit="rows", figure="rate", text="slow")
        log.warning("alarm", stage="first", unit="rows", figure="kept", text="only 3% of rows")
        log.info("alarm_over", stage="first", unit="rows", figure="rate")
    text = render(store, list(found(store).values()))
    assert "alarm: first: only 3% of rows" in text
    assert "older" not in text and "slow" not in text
