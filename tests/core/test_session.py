"""Spark sessions: what they are given wins, and what is cut from its history outlives executors."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.spark import CHECKPOINTS, cut, keep_checkpoints
from pipeline.core.storage import Store
from tests.conftest import ROOT


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


@pytest.mark.spark
def test_what_spark_submit_is_given_wins_over_the_defaults(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(
        "from pipeline.core.spark import session\n"
        "spark = session('test')\n"
        "print('GIVEN', spark.sparkContext.master, spark.conf.get('spark.sql.shuffle.partitions'),"
        " spark.conf.get('spark.sql.session.timeZone'))\n"
    )
    done = subprocess.run(
        [ROOT / "conf/environment/submit.sh", job],
        env=os.environ | {"SPARK_ARGS": "--master local[1] --conf spark.sql.shuffle.partitions=7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GIVEN local[1] 7 UTC" in done.stdout
