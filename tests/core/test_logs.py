"""The summary a stage prints, and the log."""

import ast
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog

from pipeline.core import logs
from pipeline.core.accounts import Account
from pipeline.core.logs import EVENTS, open_log, summary
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES


def test_counts_of_units_and_reasons_stand_in_one_column(tmp_path):
    account = Account("images")
    account.keep(7)
    account.drop("a_reason_with_a_very_long_name_indeed", 2)
    account.drop("dns")
    stage = Stage("download", (), (IMAGES,), StageSection, lambda ctx: [])
    record = {"seconds": 2.0, "accounts": [account.to_json()]}
    head, *lines = summary(Store(str(tmp_path)), stage, record).splitlines()
    assert head == f"download: 2.0 s -> {tmp_path}/images"
    assert [line.split()[1] for line in lines] == ["7", "2", "1"]
    ends = {line.index(f" {n} ") + len(n) for line, n in zip(lines, "721", strict=True)}
    assert len(ends) == 1
    assert "20.0%" in lines[1] and max(map(len, lines)) <= 100


def test_cpu_of_each_step_is_told_per_picture(tmp_path: Path) -> None:
    account = Account("images", cpu_s={"fetch": 0.004, "decode": 0.02})
    account.keep(4)
    account.add(Account("images", 1, 1, cpu_s={"decode": 0.005, "write": 0.001}))
    stage = Stage("download", (), (IMAGES,), StageSection, lambda ctx: [])
    record = {"seconds": 2.0, "accounts": [account.to_json()]}
    text = summary(Store(str(tmp_path)), stage, record)
    assert text.endswith("CPU ms for each of them: fetch 0.80, decode 5.00, write 0.20")


def test_requests_that_were_saved_are_told(tmp_path: Path) -> None:
    account = Account("images")
    account.keep(7)
    account.drop("filtered", 1234)
    stage = Stage("download", (), (IMAGES,), StageSection, lambda ctx: [])
    text = summary(Store(str(tmp_path)), stage, {"seconds": 2.0, "accounts": [account.to_json()]})
    assert text.endswith("\n  1,234 requests saved by filters before the download")


def test_a_stage_that_counts_nothing(tmp_path):
    stage = Stage("match", (), (IMAGES,), StageSection, lambda ctx: [])
    text = summary(Store(str(tmp_path)), stage, {"seconds": 0.0, "accounts": []})
    assert text.startswith("match: 0.0 s")


def test_failure_is_told_when_the_log_cannot_take_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the cause"), open_log(Store(str(tmp_path))):
        (log,) = (tmp_path / "_logs").iterdir()
        opened = [d for d in Path("/proc/self/fd").iterdir() if d.is_symlink()]
        (number,) = (int(d.name) for d in opened if os.path.realpath(d) == str(log))
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, number)
        os.close(full)
        raise ValueError("the cause")


def lines(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for file in sorted((folder / "_logs").iterdir())
        for line in file.read_text().splitlines()
    ]


def test_every_run_has_a_log_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        with open_log(Store(str(tmp_path)), stages=["download"], redo=False):
            structlog.get_logger().info("planned", hashes=3)
    told = lines(tmp_path)
    assert [line["event"] for line in told] == ["run_started", "planned", "run_ended"] * 2
    assert len({line["run"] for line in told}) == 2 == len(list((tmp_path / "_logs").iterdir()))
    assert all({"timestamp", "level", "run"} <= line.keys() for line in told)


def test_a_failure_is_told_without_words_unless_all_is_wanted(tmp_path: Path) -> None:
    for level in ("info", "debug"):
        folder = tmp_path / level
        caption = "A red dog, 빨간 개"
        with pytest.raises(ValueError), open_log(Store(str(folder)), level):
            raise ValueError(f"cannot convert '{caption}' read from s3://id:secretpass@bucket/a")
        text = "".join(file.read_text() for file in (folder / "_logs").iterdir())
        assert "secretpass" not in text and "run_failed" in text and "test_logs.py" in text
        assert (caption in text) == (level == "debug")
        (failed,) = (line for line in lines(folder) if line["event"] == "run_failed")
        assert failed["error"] == "ValueError" and "characters>" in str(failed["message"])


def test_where_nothing_can_be_appended_the_log_is_put_in_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store("memory://event-log/run")
    monkeypatch.setattr(logs, "_SEGMENT_BYTES", 2_000)
    monkeypatch.setattr(logs, "_PUT_EVERY_S", 0.01)
    put = threading.Semaphore(0)
    published = Store.publish

    def publish(self: Store, relative: str) -> object:
        put.release()
        return published(self, relative)

    monkeypatch.setattr(Store, "publish", publish)

    def told() -> list[list[int]]:
        names = sorted(store.fs.ls(store.path("_logs"), detail=False))
        assert all(name.endswith(f"-{n:04d}.jsonl") for n, name in enumerate(names))
        files = [store.fs.cat_file(name).decode().splitlines() for name in names]
        return [[json.loads(x)["hashes"] for x in file if '"planned"' in x] for file in files]

    with open_log(store):
        for number in range(50):
            structlog.get_logger().info("planned", hashes=number)
        while not put.acquire(timeout=0.1):
            pass
        first = told()
    # While the run still works; at its end all of it, once, in files that are not rewritten for ever.
    assert first and first[0][0] == 0
    whole = told()
    assert [n for file in whole for n in file] == list(range(50)) and len(whole) > 1
    store.fs.rm("memory://event-log", recursive=True)


def test_every_event_is_documented() -> None:
    """What the code logs is in the schema, and the other way round."""
    root = Path(__file__).resolve().parents[2]
    found = set()
    for top in ("pipeline", "filters", "jobs"):
        for path in (root / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                called = ast.unparse(node.func.value)
                if node.func.attr in ("info", "warning", "error") and (
                    called == "log" or called.endswith("get_logger()")
                ):
                    event = node.args[0]
                    assert isinstance(event, ast.Constant), f"{path}:{node.lineno}"
                    found.add(event.value)
    assert found == {*EVENTS, "out_of_memory"}  # this one is told where a task runs


def test_the_event_log_lies_on_s3(s3: Any) -> None:
    s3.mkdir("event-log")
    store = Store("s3://event-log/run")
    with open_log(store, stages=["extract"], redo=False):
        structlog.get_logger().info("planned", hashes=3)
        assert not s3.exists("event-log/run/_logs")  # no request for every line
    (name,) = s3.ls("event-log/run/_logs", detail=False)
    told = [json.loads(line)["event"] for line in s3.cat_file(name).decode().splitlines()]
    assert told == ["run_started", "planned", "run_ended"]


def test_what_libraries_warn_of_is_redacted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_log(Store(str(tmp_path))):
        try:
            raise ValueError("A red dog")
        except ValueError:
            logging.getLogger("s3fs").warning(
                "retrying %s of 'A red dog'", "https://h/a?X-Amz-Signature=cAnArY", exc_info=True
            )
        logging.getLogger("s3fs").info("not told")
    told = capsys.readouterr().err
    assert told == "s3fs: retrying https://h/a?X-Amz-Signature=*** of '<9 characters>'\n"
