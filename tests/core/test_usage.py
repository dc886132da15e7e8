"""What a stage is said to have taken."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.usage import Usage, usage

_BURNT_S = 1.0


def test_what_was_taken_between_two_looks() -> None:
    assert Usage(12.5, 9.0, 700).since(Usage(2.25, 4.0, 200)) == Usage(10.25, 5.0, 500)
    assert Usage(None, 9.0, 7).since(Usage(None, 4.0, 2)).to_json() == {
        "task_seconds": 5.0,
        "shuffle_bytes": 5,
    }


def test_processor_time_that_was_lost_is_not_known() -> None:
    """A process that nobody waits for takes its time with it: less than before is no figure."""
    assert Usage(3.0, 9.0, 7).since(Usage(20.0, 4.0, 2)).cpu_seconds is None


@pytest.mark.spark
def test_workers_that_have_ended_are_counted(spark: Any) -> None:
    def burn(_: Iterator[int]) -> Iterator[tuple[int, float]]:
        began = time.process_time()
        while time.process_time() - began < _BURNT_S:
            pass
        yield os.getpid(), time.process_time() - began

    before = usage(spark)
    burnt = spark.sparkContext.parallelize([0, 1], 2).mapPartitions(burn).collect()
    while any(Path(f"/proc/{pid}").exists() for pid, _ in burnt):
        time.sleep(0.05)
    taken = usage(spark).since(before).cpu_seconds
    least = sum(seconds for _, seconds in burnt)
    assert least >= 2 * _BURNT_S and taken is not None
    assert taken >= least - 0.1
