"""A reader of pages that crashes on records that say so."""

import ctypes
import os
import signal
import time

import pyarrow as pa

from pipeline.extract import rows
from pipeline.extract.rows import read_rows

__all__ = ["PairRows", "read_rows"]


def _act(block: bytes) -> None:
    if b"CRASH-segfault" in block:
        ctypes.string_at(1)
    elif b"CRASH-kill" in block:
        os.kill(os.getpid(), signal.SIGKILL)
    elif b"CRASH-abort" in block:
        os.abort()
    elif b"CRASH-hang" in block:
        time.sleep(1000)
    elif b"CRASH-memory" in block:
        held = []
        while True:
            held.append(b"x" * (64 << 20))
    elif b"CRASH-raise" in block:
        raise IndexError("a bug")


class PairRows(rows.PairRows):
    """Crashes where pages are read: many of them together."""

    def flush(self) -> list[pa.RecordBatch]:
        for page in self._pages:
            _act(page.body)
        return super().flush()
