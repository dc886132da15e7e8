"""The summary a stage prints."""

from pipeline.core.accounts import Account
from pipeline.core.logs import summary
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


def test_a_stage_that_counts_nothing(tmp_path):
    stage = Stage("match", (), (IMAGES,), StageSection, lambda ctx: [])
    text = summary(Store(str(tmp_path)), stage, {"seconds": 0.0, "accounts": []})
    assert text.startswith("match: 0.0 s")
