"""The alarm in a real run: parts whose outcome changes half-way, and a query beside earlier runs."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core import progress
from pipeline.core.accounts import Account
from pipeline.core.config import Config, RunSection
from pipeline.core.context import Context
from pipeline.core.errors import InputError, PairmillError
from pipeline.core.run import run
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import PartSink
from pipeline.core.tables import Table, column

pytestmark = pytest.mark.spark

TABLE = Table("pictures", "Numbers.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))
PARTS = 40


def look(part: int, turns_at: int, sink: PartSink) -> None:
    """100 pictures; from a part on, two thirds of them are too small."""
    time.sleep(0.2)
    account = Account("pictures")
    small = 66 if part >= turns_at else 2 + part % 3
    account.keep(100 - small)
    account.drop("too_small", small)
    sink.accounts.append(account)


def line(turns_at: int) -> tuple[Stage, ...]:
    def build(ctx: Context[Any]) -> list[Account]:
        return ctx.run_parts(TABLE, look, [(part, turns_at) for part in range(PARTS)])

    return (Stage("look", (), (TABLE,), StageSection, build),)


def config(root: Path, run_: dict[str, Any] | None = None, **section: Any) -> Config:
    chosen = StageSection(alarm_rows=100, alarm_stretch_s=0.0, **section)
    return Config({"run": RunSection(root=str(root), **(run_ or {})), "look": chosen}, {})


def alarms(root: Path) -> list[dict[str, Any]]:
    lines = [x for f in (root / "_logs").iterdir() for x in f.read_text().splitlines()]
    return [event for event in map(json.loads, lines) if event["event"] == "alarm"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_POLL_S", 0.02)
    monkeypatch.setattr(progress, "_LOOKING", 1.0)


def test_a_share_that_jumps_half_way_is_told_and_ends_the_stage_if_so_wanted(
    spark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["look"], line(PARTS), config(tmp_path / "well"))
    assert not [a for a in alarms(tmp_path / "well") if a["figure"] in ("kept", "too_small")]
    capsys.readouterr()
    run(["look"], line(PARTS // 2), config(tmp_path / "warned"))
    told = {a["figure"]: a for a in alarms(tmp_path / "warned")}
    assert told["too_small"]["stage"] == "look" and told["too_small"]["value"] > 0.3
    assert "stretches of the stage before" in told["too_small"]["usual"]
    assert "look: warning: too_small takes" in capsys.readouterr().err
    # What is finished is kept, and with another range the same command goes on.
    with pytest.raises(PairmillError, match=r'look\.alarm = "stop": .* of the last'):
        run(["look"], line(PARTS // 2), config(tmp_path / "stopped", alarm="stop"))
    before = len(list((tmp_path / "stopped/pictures").glob("part-*.parquet")))
    assert PARTS // 2 <= before < PARTS
    ranges = {"too_small": (0.0, 1.0), "kept": (0.0, 1.0), "rate": (0.0, 1e9)}
    wide = config(tmp_path / "stopped", alarm="stop", alarm_usual=ranges)
    (record,) = run(["look"], line(PARTS // 2), wide)
    assert record["accounts"][0]["in"] == 100 * PARTS


def test_a_stage_is_held_against_earlier_runs(spark: object, tmp_path: Path) -> None:
    def query(small: int) -> tuple[Stage, ...]:
        def build(ctx: Context[Any]) -> list[Account]:
            account = Account("pictures", 1000, 1000 - small)
            account.dropped["too_small"] = small
            ctx.write(TABLE, ctx.spark.createDataFrame([(1,)], "n bigint"))
            return [account]

        return (Stage("look", (), (TABLE,), StageSection, build),)

    earlier = [str(tmp_path / f"earlier-{n}") for n in range(3)]
    for n, root in enumerate(earlier):
        run(["look"], query(30 + n), config(Path(root)))
    known = {"usual_runs": tuple(earlier)}
    run(["look"], query(35), config(tmp_path / "same", known))
    assert not [a for a in alarms(tmp_path / "same") if a["figure"] != "rate"]
    run(["look"], query(400), config(tmp_path / "other", known))
    told = [a for a in alarms(tmp_path / "other") if a["figure"] != "rate"]
    assert [a["figure"] for a in told] == ["kept", "too_small"]
    assert all(a["usual"] == "3 earlier runs" for a in told)
    stopping = config(tmp_path / "stopped", known, alarm="stop")
    with pytest.raises(PairmillError, match="stopped by look.alarm"):
        run(["look"], query(400), stopping)
    with pytest.raises(InputError, match="usual_runs: /nowhere is no folder of a run"):
        run(["look"], query(1), config(tmp_path / "none", {"usual_runs": ("/nowhere",)}))
    with pytest.raises(InputError, match=r"metrics_file = /nowhere/a\.prom: there is no such"):
        run(["look"], query(1), config(tmp_path / "none", {"metrics_file": "/nowhere/a.prom"}))
    assert not (tmp_path / "none").exists()
