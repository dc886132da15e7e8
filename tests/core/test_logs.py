"""The summary a stage prints, and the log."""

import os
from pathlib import Path

import pytest

from pipeline.core.accounts import Account
from pipeline.core.logs import open_log, summary
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
