"""Columns of text as bytes: Arrow string arrays to NumPy views and back, without copies by row."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.jit import kernel

Bytes = npt.NDArray[np.uint8]
Ends = npt.NDArray[np.int32]

_NO_ENDS = np.zeros(1, np.int32)
_NO_BYTES = np.zeros(0, np.uint8)


def views(texts: pa.Array) -> tuple[Ends, Bytes]:
    """A string array's values as (ends, data): row i is data[ends[i]:ends[i + 1]], in UTF-8.

    texts: pa.string() without nulls, sliced or not. ends: int32 [rows + 1]. data: uint8. Both are
    views, read-only always, so that a kernel sees one kind of argument. Raises TypeError for
    another type.
    """
    if not pa.types.is_string(texts.type):
        raise TypeError(f"expected a string array, not {texts.type}")
    _, ends, data = texts.buffers()
    rows = len(texts)
    if ends is None or rows == 0:
        found = _NO_ENDS.view(), _NO_BYTES.view()
    else:
        found = (
            np.frombuffer(ends, np.int32)[texts.offset : texts.offset + rows + 1],
            np.frombuffer(data, np.uint8) if data is not None else _NO_BYTES.view(),
        )
    for view in found:
        view.flags.writeable = False
    return found


def from_ends(ends: Ends, data: Bytes) -> pa.Array:
    """A string array over buffers as `views` gives them, without a copy. data: valid UTF-8."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ends)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, buffers)


def from_spans(
    data: Bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> pa.Array:
    """A string array of the spans data[starts[i]:stops[i]], which may overlap and come in any
    order; the bytes are copied. Raises OverflowError over 2 GiB."""
    total = int((stops - starts).sum())
    if total > np.iinfo(np.int32).max:
        raise OverflowError(f"{total} bytes do not fit into one string array")
    ends = np.empty(len(starts) + 1, np.int32)
    gathered = np.empty(total, np.uint8)
    _gather(data, starts, stops, ends, gathered)
    return from_ends(ends, gathered)


@kernel
def _gather(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    ends: Ends,
    gathered: Bytes,
) -> None:
    # Unsigned numbers count from no end: the copy is then compiled to whole vectors, five times
    # as fast.
    at = np.uint64(0)
    for i in range(len(starts)):
        ends[i] = at
        start = np.uint64(starts[i])
        size = np.uint64(stops[i]) - start
        for j in range(size):
            gathered[at + j] = data[start + j]
        at += size
    ends[len(starts)] = at
