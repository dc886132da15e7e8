"""A reader of pages that crashes on records that say so."""

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator

from pipeline.extract import rows
from pipeline.extract.records import Record
from pipeline.extract.rows import PairRows

__all__ = ["PairRows", "read_pages"]


def _act(block: bytes) -> None:
    if b"CRASH-segfault" in block:
        ctypes.string_at(1)
    elif b"CRASH-kill" in block:
        os.kill(os.getpid(), signal.SIGKILL)
    elif b"CRASH-abort" in block:
        os.abort()
    elif b"CRASH-hang" in block:
        while True:
            pass
    elif b"CRASH-sleep" in block:
        time.sleep(1000)
    elif b"CRASH-memory" in block:
        held = []
        while True:
            held.append(b"x" * (64 << 20))
    elif b"CRASH-raise" in block:
        raise IndexError("a bug")


def _tried(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        _act(record.block)
        yield record


def read_pages(records: Iterable[Record], *more):
    return rows.read_pages(_tried(records), *more)
