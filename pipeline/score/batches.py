"""Rows through a model in batches: copied while it computes, and smaller once memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Pending = Callable[[], Vectors]


@dataclass
class Memory:
    """How many rows a process's memory takes at once. limit: the most that are tried, None for as
    many as are asked for. halvings: how often memory ran out so far."""

    limit: int | None = None
    halvings: int = 0

    def halve(self, size: int, device: Any) -> None:
        """Note that `size` rows did not fit. The first time is logged."""
        self.limit = size // 2
        self.halvings += 1
        if self.halvings == 1:
            structlog.get_logger().warning(
                "out_of_memory", device=str(device), batch=size, batch_from_now_on=self.limit
            )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or this machine could not allocate."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    told = str(error)
    # What torch's CPU allocator and oneDNN say; both raise plain RuntimeErrors.
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in told or "not enough memory" in told or "bad_alloc" in told
    )


def start(
    rows: int, batch: int, memory: Memory, device: Any, compute: Callable[[slice], Any]
) -> Pending:
    """Compute rows in slices of at most `batch`; what the returned function gives are their unit
    vectors, float32 [rows, width].

    compute: a torch tensor [slice, width] of a slice of the rows. A GPU may still be busy when this
    returns: the vectors are waited for when they are asked for. When memory runs out the slice is
    done again in halves, as are all later ones of this `memory`: the last bits of a vector depend
    on what is computed beside it. Raises what `compute` raises where one row does not fit.
    """
    import torch

    done: list[Any] = []
    at = 0
    while at < rows:
        size = min(batch, memory.limit or batch, rows - at)
        short = None
        try:
            with torch.inference_mode():
                vectors = torch.nn.functional.normalize(compute(slice(at, at + size)).float())
                done.append(_to_host(vectors))
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            short = size
        if short is None:
            at += size
            continue
        # Outside of the handler, whose traceback holds on to what was allocated.
        memory.halve(short, device)
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()

    copied = None
    if torch.device(device).type == "cuda":
        copied = torch.cuda.current_stream(device).record_event()

    def finish() -> Vectors:
        if copied is not None:
            copied.synchronize()
        return np.concatenate([part.numpy() for part in done])

    return finish


def _to_host(vectors: Any) -> Any:
    """A copy on the host; from a GPU it is under way, into memory that it can write by itself."""
    import torch

    if vectors.device.type != "cuda":
        return vectors.cpu()
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    return host.copy_(vectors, non_blocking=True)


class Copier:
    """Copies rows to a device on a stream of its own, so that copies and computation overlap."""

    def __init__(self, device: Any) -> None:
        import torch

        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def __call__(self, rows: NDArray[Any]) -> Any:
        """`rows` as a tensor on the device; on a CPU it shares their memory."""
        import torch

        given = torch.from_numpy(rows)
        if self._stream is None:
            return given.to(self._device)
        pinned = given.pin_memory()
        with torch.cuda.stream(self._stream):
            copied = pinned.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        # Freed by the one stream, the memory must not be filled by the other before it is read.
        copied.record_stream(computing)
        return copied
