"""What is cut from its history is kept in the run's folder where executors can be lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.spark import CHECKPOINTS, cut, keep_checkpoints
from pipeline.core.storage import Store


@pytest.mark.parametrize("master", ["local[2]", "spark://host:7077"])
def test_checkpoints_are_kept_in_the_run_on_a_cluster(tmp_path: Path, master: str) -> None:
    asked: list[str] = []
    context = SimpleNamespace(master=master, setCheckpointDir=asked.append)
    session: Any = SimpleNamespace(sparkContext=context)
    store = Store(str(tmp_path))
    keep_checkpoints(session, store)
    assert asked == ([] if master.startswith("local") else [store.path(CHECKPOINTS)])


@pytest.mark.spark
def test_cut_rows_are_the_rows(spark: Any) -> None:
    rows = cut(spark.range(100).selectExpr("id * 2 AS n"))
    assert rows.count() == 100 and rows.agg({"n": "sum"}).first()[0] == 9900
    assert "Range" not in rows._jdf.queryExecution().logical().toString()
