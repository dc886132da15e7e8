"""A stage followed from the driver: events that stay few, figures, and the alarm's two actions."""

import calendar
import json
import random
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from pipeline.core.accounts import Account
from pipeline.core.errors import PairmillError
from pipeline.core.following import Bell, Follower, Live
from pipeline.core.metrics import Metrics, render
from pipeline.core.progress import Reading
from pipeline.core.stage import StageSection
from pipeline.core.storage import PartWork, Store
from pipeline.core.tables import Table, column
from pipeline.fetch.settings import DownloadSection

TABLE = Table("t", "Numbers.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))


class Parts(Store):
    """A folder whose parts are told, not written; ten rows each."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.done = 0
        self.kept = 9

    def committed(self, table: Table) -> dict[int, str]:
        return dict.fromkeys(range(self.done), "")

    def part_work(self, table: Table, part: int) -> PartWork:
        account = Account("rows", 10, self.kept, Counter({"odd": 10 - self.kept}))
        return PartWork([account], 0.5 + (part == 7), 100)


def bell(**section: Any) -> Bell:
    return Bell("made", None, StageSection(**section), Metrics(), {})


def test_a_hundred_thousand_parts_are_some_thousand_short_lines() -> None:
    store, made = Parts(), bell(alarm="off")
    total = 100_000
    store.done = 1_000
    follower = Follower(store, TABLE, "made: t", range(total), made)
    with capture_logs() as logs:
        for now in range(600):
            store.done = min(total, store.done + 450)
            reading = follower.read(float(now))
        follower.finish()
    assert reading == Reading(total, total, "parts", 1_000)
    told = [line for line in logs if line["event"] == "parts_done"]
    assert len(told) <= 1_000 and sum(len(json.dumps(line)) for line in told) < 1 << 20
    # Parts of an earlier attempt are no news, but they count.
    assert sum(line["parts"] for line in told) == total - 1_000
    assert sum(line["bytes"] for line in told) == 100 * (total - 1_000)
    figures = render(made.metrics._values)
    assert 'pairmill_rows_in{stage="made",unit="rows"} 1000000\n' in figures
    assert 'pairmill_parts_done{stage="made"} 100000\n' in figures
    assert 'pairmill_written_bytes{stage="made"} 10000000\n' in figures


def test_an_event_has_what_its_parts_counted_and_took() -> None:
    store = Parts()
    follower = Follower(store, TABLE, "made: t", range(12), bell())
    with capture_logs() as logs:
        store.done = 12
        follower.read()
        follower.finish()
    assert [line["first"] for line in logs] == [[part] for part in range(12)]
    seventh = logs[7]
    assert seventh["slowest_s"] == seventh["seconds"] == 1.5 and seventh["of"] == 12
    assert seventh["accounts"] == [{"unit": "rows", "in": 10, "kept": 9, "dropped": {"odd": 1}}]


@pytest.mark.parametrize("action", ["warn", "stop", "off"])
def test_what_an_alarm_does(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    store, cancelled = Parts(), []
    made = bell(alarm=action, alarm_rows=100)
    made.spark = SimpleNamespace(  # type: ignore[assignment]
        sparkContext=SimpleNamespace(cancelAllJobs=lambda: cancelled.append(1))
    )
    follower = Follower(store, TABLE, "made: t", range(10_000), made)
    with capture_logs() as logs:
        for step in range(40):
            store.done += 10
            store.kept = 9 if step < 20 else 2
            follower.read(follower._begun_at + 40.0 * (step + 1))
    alarms = [line for line in logs if line["event"] == "alarm"]
    warnings = capsys.readouterr().err.splitlines()
    assert {line["figure"] for line in alarms} == (set() if action == "off" else {"kept", "odd"})
    assert bool(cancelled) == (action == "stop")
    assert len(warnings) == (2 if action == "warn" else 0)
    if action == "warn":
        assert warnings[0].startswith("made: warning: only 20% of the last 100 rows are kept")
        assert made.metrics._values["alarms", (("stage", "made"),)] == 2
    if action == "stop":
        with pytest.raises(PairmillError, match=r'stopped by made\.alarm = "stop": only 20%'):
            made.check()
    else:
        made.check()
    for line in alarms:
        assert line["action"] == action and line["runbook"].startswith("docs/runbook.md#")
        assert line["low"] > line["value"] or line["value"] > line["high"]


def test_what_is_live_is_judged_and_shown_before_any_part_is_done() -> None:
    made, counts = bell(), [Counter(kept=300, dns=100), Counter[str]()]
    follower = Follower(Parts(), TABLE, "made: t", range(8), made, Live("images", counts.pop))
    assert follower.read().detail == ""
    assert follower.read() == Reading(0, 8, "parts", 0, "75% of 400 images kept")
    labels = (("stage", "made"), ("unit", "images"), ("outcome", "dns"))
    assert made.metrics._values["rows_ended", labels] == 100


def test_a_download_whose_success_collapses_half_way_or_whose_rate_falls_is_told_early() -> None:
    """As the tallies bring it, long before a part is done; clock and web are simulated."""
    for ends, figures in (("dead", ["kept", "connect", "kept"]), ("slow", ["rate"])):
        rng, now, coming = random.Random(0), [0.0], [Counter[str]()]
        made = Bell("download", None, DownloadSection(), Metrics(), {})
        follower = Follower(Parts(), TABLE, "x", range(64), made, Live("images", coming.pop))
        # Every 5 s 1,000 pictures, of which 20% to 30% fail, by site; half an hour.
        with capture_logs() as logs:
            for step in range(720):
                is_late = step >= 360
                dead = 0.9 if is_late and ends == "dead" else 0.2 + 0.1 * rng.random()
                rows = 250 if is_late and ends == "slow" else 1_000
                ended = rng.choices(["kept", "connect"], [1 - dead, dead], k=rows)
                coming.append(Counter(ended))
                now[0] = follower._begun_at + 5.0 * (step + 1)
                follower.read(now[0])
        alarms = [line for line in logs if line["event"] == "alarm"]
        assert [a["figure"] for a in alarms] == figures[: len(alarms)]
        assert alarms and alarms[0]["unit"] == "images"
        assert json.loads(json.dumps(alarms, allow_nan=False)) == alarms
        # Within two stretches of half a minute.
        since = calendar.timegm(time.strptime(alarms[0]["since"], "%Y-%m-%dT%H:%M:%SZ"))
        assert -10 <= since - (follower._begun_at + 1800) <= 60


def test_a_real_part_says_what_it_took(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.publish_part(TABLE, 3) as sink:
        sink.write_rows([{"n": 1}])
        sink.accounts.append(Account("rows", 1, 1))
        sink.started_at -= 20.0
        sink.bytes_beside = 5_000_000
    work = store.part_work(TABLE, 3)
    size = Path(store.path(store.part_file(TABLE, 3))).stat().st_size
    assert work.accounts == [Account("rows", 1, 1)] and work.bytes == size + 5_000_000
    assert 20.0 <= work.seconds < 30.0
