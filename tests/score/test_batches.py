"""Batches that do not fit into memory are halved, and nothing else is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog

from pipeline.score import clip
from pipeline.score.batches import Memory, start

CPU_TOLD = "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"  # noqa: E501


class Small:
    """A model for whose memory more than `rows` are too many."""

    def __init__(self, rows: int, error: Exception) -> None:
        self.rows, self.error, self.tried = rows, error, []  # type: ignore[var-annotated]

    def __call__(self, part: slice) -> Any:
        import torch

        self.tried.append((part.start, part.stop))
        if part.stop - part.start > self.rows:
            raise self.error
        return torch.arange(part.start + 1.0, part.stop + 1)[:, None].repeat(1, 4)


def errors() -> list[Exception]:
    import torch

    return [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_TOLD), MemoryError()]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_what_does_not_fit_is_done_again_in_halves_and_logged_once(error):
    model, memory = Small(10, error), Memory()
    with structlog.testing.capture_logs() as logs:
        found = start(70, 64, memory, "cpu", model)()
        again = start(25, 64, memory, "cpu", model)()
    assert np.allclose(found, 0.5) and found.shape == (70, 4) and found.dtype == np.float32
    assert again.shape == (25, 4)
    # 64, 32, 16 are too many; from then on all are of 8, without another try.
    assert model.tried[:5] == [(0, 64), (0, 32), (0, 16), (0, 8), (8, 16)]
    assert all(stop - start <= 8 for start, stop in model.tried[3:])
    assert (memory.limit, memory.halvings) == (8, 3)
    (log,) = logs
    assert log["event"] == "out_of_memory" and log["batch"] == 64


def test_one_row_that_does_not_fit_fails():
    with pytest.raises(MemoryError):
        start(3, 2, Memory(), "cpu", Small(0, MemoryError()))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    model, memory = Small(10, RuntimeError("mat1 and mat2 shapes cannot be multiplied")), Memory()
    with pytest.raises(RuntimeError, match="shapes"):
        start(70, 64, memory, "cpu", model)
    assert len(model.tried) == 1 and memory.halvings == 0


def test_a_real_allocation_that_fails_is_told_from_other_errors():
    import torch

    def compute(part: slice) -> Any:
        rows = part.stop - part.start
        torch.empty(2**46 if rows > 2 else 1)  # more than any machine's address space takes
        return torch.ones(rows, 3)

    memory = Memory()
    assert start(5, 5, memory, "cpu", compute)().shape == (5, 3)
    assert memory.halvings == 1 and memory.limit == 2


def test_pictures_and_captions_keep_their_order_and_vectors_when_memory_runs_out():
    loaded = clip.load("pairmill-tiny", precision="fp32", device="cpu")
    calls = []

    def short(tower: Any, rows: int) -> Any:
        def run(x: Any) -> Any:
            calls.append(len(x))
            if len(x) > rows:
                raise MemoryError
            return tower(x)

        return run

    small = replace(
        loaded, images=short(loaded.images, 3), texts=short(loaded.texts, 2), memory=Memory()
    )
    side = loaded.shape.side
    pixels = np.random.default_rng(0).integers(0, 256, (11, side, side, 3), dtype=np.uint8)
    assert np.allclose(small.embed_images(pixels, 8), loaded.embed_images(pixels), atol=1e-5)
    texts = ["a long caption of many words", "one", "", "two words", "a red star"]
    assert np.allclose(small.embed_texts(texts, 4), loaded.embed_texts(texts), atol=1e-5)
    assert 8 in calls and small.memory.halvings >= 2
