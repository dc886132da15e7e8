"""Running stages: skip what is done, continue what was cut, refuse another config, one-line errors."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from pipeline.core import records
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.config import Config, RunSection
from pipeline.core.context import Context
from pipeline.core.errors import (
    ConfigError,
    ContractError,
    DamagedFile,
    InputError,
    PairmillError,
)
from pipeline.core.failures import explain
from pipeline.core.run import _require_whole as require_whole
from pipeline.core.run import amend, guarded, run
from pipeline.core.spark import read_table
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import Table, column
from pipeline.core.ustar import BLOCK, END

pytestmark = pytest.mark.spark

SOURCE = Table("source", "Numbers.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))
EVEN = Table(
    "even",
    "Even numbers by last digit.",
    ("n",),
    pa.schema([column("n", pa.int64(), "a number"), column("digit", pa.int32(), "last digit")]),
    partition="digit",
)


# How often these come depends on how a stage is made.
QUERIES = {"step_done"}


def events(root: Path) -> list[dict[str, Any]]:
    """All lines of the event log, in order."""
    files = sorted((root / "_logs").iterdir(), key=lambda file: file.stat().st_mtime)
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


class SourceSection(StageSection):
    parts: int = 3
    fail_in_part: int = -1


def make(part: int, payload: tuple[int, int, str], sink: PartSink) -> None:
    start, fail_in_part, log = payload
    with open(log, "a") as file:
        file.write(f"{part}\n")
    sink.write_rows([{"n": start + i} for i in range(10)])
    if part == fail_in_part and not os.path.exists(f"{log}.mended"):
        raise OSError(28, "No space left on device")
    account = Account("numbers")
    account.keep(10)
    sink.accounts.append(account)


def build_source(context: Context[SourceSection]) -> list[Account]:
    log = context.store.path("log")
    todo = [(i, (i * 10, context.config.fail_in_part, log)) for i in range(context.config.parts)]
    return context.run_parts(SOURCE, make, todo)


def build_even(context: Context[StageSection]) -> list[Account]:
    rows = context.read(SOURCE)
    even = rows.where(F.col("n") % 2 == 0).withColumn("digit", (F.col("n") % 10).cast("int"))
    account = Account("numbers")
    account.keep(context.write(EVEN, even))
    account.drop("odd", rows.where(F.col("n") % 2 == 1).count())
    account.rows_in = rows.count()
    return [account]


class EvenSection(StageSection):
    pass


LINE = (
    Stage("source", (), (SOURCE,), SourceSection, build_source),
    Stage("even", (SOURCE,), (EVEN,), EvenSection, build_even),
)


def config(root: Path, **source: Any) -> Config:
    sections = {"run": RunSection(root=str(root)), "source": SourceSection(**source)}
    return Config(sections | {"even": EvenSection()}, {})


def test_line_runs_counts_and_skips(spark: object, tmp_path: Path) -> None:
    first = run(["source", "even"], LINE, config(tmp_path))
    assert first[1]["accounts"] == [
        {"unit": "numbers", "in": 30, "kept": 15, "dropped": {"odd": 15}}
    ]
    assert sorted(p.name for p in (tmp_path / "even").glob("digit=*")) == [
        f"digit={d}" for d in range(0, 10, 2)
    ]
    again = run(["source", "even"], LINE, config(tmp_path))
    assert again == first
    assert len((tmp_path / "log").read_text().split()) == 3
    told = events(tmp_path)
    assert [(e["event"], e.get("stage")) for e in told if e["event"] not in QUERIES] == [
        ("run_started", None),
        ("started", "source"),
        *[("parts_done", "source")] * 3,
        ("done", "source"),
        ("started", "even"),
        ("done", "even"),
        ("run_ended", None),
        ("run_started", None),
        ("skipped", "source"),
        ("skipped", "even"),
        ("run_ended", None),
    ]
    assert all(e["id"] == first[0]["id"] for e in told if e["event"] == "parts_done")


def test_records_tell_what_a_stage_took(spark: object, tmp_path: Path) -> None:
    def build(context: Context[SourceSection]) -> list[Account]:
        busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
        rows = context.spark.sparkContext.parallelize(range(20_000), 2)
        rows = rows.map(lambda n: (exec(busy) if n % 10_000 == 0 else n, n))
        assert context.spark.createDataFrame(rows, "a long, n long").groupBy("n").count().count()
        return build_source(context)

    line = (Stage("source", (), (SOURCE,), SourceSection, build), LINE[1])
    # Idle workers of earlier tests that end meanwhile take their time with them: it is not told then.
    for attempt in range(3):
        heavy, light = run(["source", "even"], line, config(tmp_path / str(attempt)))
        if "cpu_seconds" in heavy:
            break
    assert heavy["cpu_seconds"] >= 0.6
    assert heavy["task_seconds"] >= 0.6
    assert heavy["shuffle_bytes"] > 20_000 > light["shuffle_bytes"]


def test_other_config_is_refused_until_redo(spark: object, tmp_path: Path) -> None:
    run(["source", "even"], LINE, config(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"source\.parts: 3 -> 2.*--redo"):
        run(["source"], LINE, config(tmp_path, parts=2))
    assert sorted(tmp_path.rglob("*")) == before
    run(["source"], LINE, config(tmp_path, parts=2), redo=True)
    removed = [e for e in events(tmp_path) if e["event"] == "discarded"]
    assert [(e["stage"], e["why"]) for e in removed] == [("source", "redo"), ("even", "redo")]
    assert removed[0]["changed"] == ["source.parts: 3 -> 2"]
    assert not (tmp_path / "even").exists()  # what was made from it went with it
    assert run(["even"], LINE, config(tmp_path, parts=2))[0]["accounts"][0]["in"] == 20


def test_rerun_does_only_missing_parts(spark: object, tmp_path: Path) -> None:
    with pytest.raises(Exception) as error:
        run(["source"], LINE, config(tmp_path, fail_in_part=1))
    assert "disk full" in explain(error.value)
    kept = {p.name for p in (tmp_path / "source").iterdir()}
    assert "part-00001.parquet" not in kept
    (tmp_path / "log.mended").touch()
    done_before = (tmp_path / "log").read_text().split()
    run(["source"], LINE, config(tmp_path, fail_in_part=1))
    redone = (tmp_path / "log").read_text().split()[len(done_before) :]
    assert not any(".writing" in p.name for p in (tmp_path / "source").iterdir())
    assert "1" in redone
    assert not {f"part-{int(p):05d}.parquet" for p in redone} & kept


def test_reading_what_is_not_there_names_the_stage_to_run(spark: object, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="run source first"):
        run(["even"], LINE, config(tmp_path))


def test_too_large_a_drop_aborts(spark: object, tmp_path: Path) -> None:
    strict = Config({**config(tmp_path).sections, "even": EvenSection(max_drop_share=0.4)}, {})
    with pytest.raises(PairmillError, match=r"odd drops 50.0% of 30 numbers"):
        run(["source", "even"], LINE, strict)


def test_outside_inputs_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    def check(section: object) -> object:
        raise InputError("archive gone.warc.gz does not exist")

    line = (Stage("source", (), (SOURCE,), SourceSection, build_source, check=check),)
    with pytest.raises(InputError, match=r"gone\.warc\.gz"):
        run(["source"], line, config(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_guarded_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise ConfigError("unknown key a.b")

    assert guarded(refuse) == 2
    assert capsys.readouterr().err == "pairmill: unknown key a.b\n"
    assert guarded(lambda: None) == 0


def test_killed_while_discarding_leaves_nothing_that_counts_as_done(
    spark: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["source", "even"], LINE, config(tmp_path))
    removed: list[str] = []

    def killed(store: Store, relative: str) -> None:
        removed.append(relative)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run(["source"], LINE, config(tmp_path, parts=2), redo=True)
    assert removed == ["source"]
    # The command that was cut, without --redo; then what was made from what is gone.
    run(["source"], LINE, config(tmp_path, parts=2))
    assert len(list((tmp_path / "source").glob("part-*"))) == 2
    assert run(["even"], LINE, config(tmp_path, parts=2))[0]["accounts"][0]["in"] == 20


def test_stages_without_rows_leave_tables_without_rows(spark: Any, tmp_path: Path) -> None:
    (_, even) = run(["source", "even"], LINE, config(tmp_path, parts=0))
    assert even["accounts"] == [{"unit": "numbers", "in": 0, "kept": 0, "dropped": {}}]
    store = Store(str(tmp_path))
    for table in (SOURCE, EVEN):
        rows = read_table(spark, store, table)
        assert (rows.columns, rows.count()) == (table.schema.names, 0)


def amended(store: Store, made: Config, fail: bool = False, parts: tuple[int, ...] = (0,)) -> Any:
    def build(context: Context[Any], parts: Sequence[int]) -> list[Account]:
        if fail:
            raise RuntimeError("cut short")
        return build_source(context)

    return amend(LINE[0], LINE, made, Amendment("mend", lambda _: list(parts), build))


def test_stages_behind_an_amended_one_are_done_again(spark: object, tmp_path: Path) -> None:
    made, store = config(tmp_path), Store(str(tmp_path))
    with pytest.raises(ContractError, match="is not finished"):
        amended(store, made)
    ids = [record["id"] for record in run(["source", "even"], LINE, made)]
    assert amended(store, made, parts=()) is None
    assert [record["id"] for record in run(["source", "even"], LINE, made)] == ids
    amended(store, made)
    first, second = run(["source", "even"], LINE, made)
    assert first["id"] != ids[0] and second["id"] != ids[1]
    assert second["inputs"] == {first["stage"]: first["id"]}

    # Cut short, and then finished: by the same command, or by the stage itself.
    for finish in (lambda: amended(store, made), lambda: run(["source"], LINE, made)):
        before = records.load(store, "source")["id"]
        with pytest.raises(RuntimeError):
            amended(store, made, fail=True)
        begun = records.load(store, "source")
        assert begun["state"] == "started" and begun["id"] != before
        with pytest.raises(ContractError, match="has not finished"):
            run(["even"], LINE, made)
        finish()
        assert records.load(store, "source")["id"] == begun["id"]
        assert run(["source", "even"], LINE, made)[1]["inputs"] == {"source": begun["id"]}


def refuse_and_say(stages: list[str], made: Config) -> str:
    with pytest.raises(Exception) as error:
        run(stages, LINE, made)
    return str(error.value) if isinstance(error.value, PairmillError) else explain(error.value)


@pytest.mark.parametrize(
    ("how", "has_sums"),
    # Where no checksums lie beside, on object storage, Parquet's own are of pages alone.
    [("page", True), ("footer", True), ("cut", True), ("page", False), ("cut", False)],
)
def test_a_damaged_file_is_named_removed_as_told_and_made_again(
    spark: object, tmp_path: Path, how: str, has_sums: bool
) -> None:
    made = config(tmp_path)
    first = run(["source", "even"], LINE, made)
    damaged = tmp_path / "source" / "part-00001.parquet"
    if not has_sums:
        (tmp_path / "source" / f".{damaged.name}.crc").unlink()
    data = bytearray(damaged.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "page":
        data[30] ^= 4
    else:
        data[-20] ^= 4
    damaged.write_bytes(data)
    # Asked for again, `even` reads it.
    with pytest.raises(Exception) as error:
        run(["even"], LINE, made, redo=True)
    said = str(error.value) if isinstance(error.value, PairmillError) else explain(error.value)
    if how == "cut":
        assert "run source first" in said
        said = refuse_and_say(["source", "even"], made)
    assert said.startswith(f"{damaged} is damaged (") and "remove that file" in said
    damaged.unlink()
    before = (tmp_path / "log").read_text().split()
    source, even = run(["source", "even"], LINE, made)
    assert (tmp_path / "log").read_text().split()[len(before) :] == ["1"]
    assert source["id"] != first[0]["id"] and even["inputs"] == {"source": source["id"]}
    assert even["accounts"] == first[1]["accounts"]
    assert [record["id"] for record in run(["source", "even"], LINE, made)] == [
        source["id"],
        even["id"],
    ]


@pytest.mark.parametrize("kept", [0, 334, 1024, 1536])
def test_a_tar_that_does_not_end_as_one_is_named(tmp_path: Path, kept: int) -> None:
    store, file = Store(str(tmp_path)), tmp_path / "part-00003.r2.tar"
    data = b"x" * BLOCK + END
    file.write_bytes(data)
    require_whole(store, str(file))
    file.write_bytes(data[:kept])
    if kept == len(data):
        require_whole(store, str(file))
        return
    with pytest.raises(DamagedFile, match=r"part-00003.r2.tar is damaged \(it does not end"):
        require_whole(store, str(file))


def test_a_lost_file_of_a_query_table_is_made_again(spark: object, tmp_path: Path) -> None:
    made = config(tmp_path)
    run(["source", "even"], LINE, made)
    files = list((tmp_path / "even" / "digit=4").glob("*.parquet"))
    files[0].unlink()
    _, even = run(["source", "even"], LINE, made)
    assert len(list((tmp_path / "even" / "digit=4").glob("*.parquet"))) == len(files)
    assert even["accounts"][0]["kept"] == 15


def test_what_was_removed_as_a_whole_is_not_made_again(spark: object, tmp_path: Path) -> None:
    """To save space: tables that nobody reads any more."""
    made = config(tmp_path)
    before = run(["source", "even"], LINE, made)
    for file in (tmp_path / "source").iterdir():
        file.unlink()
    (tmp_path / "source").rmdir()
    assert run(["source", "even"], LINE, made) == before


def test_a_stage_by_itself_does_not_read_what_has_lost_files(spark: object, tmp_path: Path) -> None:
    made = config(tmp_path)
    run(["source"], LINE, made)
    (tmp_path / "source" / "part-00000.parquet").unlink()
    with pytest.raises(ContractError, match="source wrote other files; run source first"):
        run(["even"], LINE, made)
