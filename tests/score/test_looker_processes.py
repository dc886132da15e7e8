"""Decoding apart from the models."""

import io
import os
import signal

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import EnvironmentProblem
from pipeline.score import looker_processes
from pipeline.score.looker_processes import InProcesses, close_shared, shared
from pipeline.score.looks import Asked, InThreads, Looker
from pipeline.score.pixels import Shipped
from pipeline.score.scorers import Scorers
from pipeline.score.shape import Shape

SHAPES = (Shape(32), Shape(24, "squash", is_bilinear=True))
LOOKER = Looker(SHAPES, Scorers(pixels=(Shipped(("sharpness", "entropy")),)))


def pictures(count: int) -> list[Asked]:
    rng = np.random.default_rng(0)
    asked = []
    for i in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (50, 40 + i, 3), dtype=np.uint8)).save(file, "JPEG")
        asked.append(Asked(file.getvalue(), ((0, 1), (1,))[i % 2], i % 3 == 0))
    return [*asked, Asked(b"no picture")]


def test_processes_find_what_threads_find():
    asked = pictures(11)
    apart, here = InProcesses(LOOKER, 2), InThreads(LOOKER, 2)
    try:
        found, expected = apart.start(asked)(), here.start(asked)()
        assert apart.start([])() == []
    finally:
        apart.close()
        here.close()
    assert found[-1] is None and expected[-1] is None
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        assert one.numbers == other.numbers
        assert all(np.array_equal(a, b) for a, b in zip(one.pixels, other.pixels, strict=True))


def test_a_process_that_dies_ends_the_task_and_not_the_next_one():
    apart = InProcesses(LOOKER, 1)
    try:
        apart.start(pictures(1))()
        (process,) = apart._all
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentProblem, match="decodes pictures"):
            apart.start(pictures(1))()
        assert apart.start(pictures(1))()[-1] is None
    finally:
        apart.close()


def test_they_are_kept_while_they_are_asked_the_same():
    try:
        first = shared(LOOKER, 1)
        first.start(pictures(1))()
        assert shared(Looker(SHAPES, LOOKER.scorers), 1) is first
        other = shared(Looker(SHAPES[:1]), 1)
        assert other is not first and not first._all
    finally:
        close_shared()
    assert not looker_processes._kept
