"""A parser of pages that is quick to start, and crashes on pages that say so.

It reads pages some at a time, as the real one does, and gives the columns that tests look at.
"""

import ctypes
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.reasons import LinkReason
from pipeline.extract.record import Record
from pipeline.extract.stretch import Stretch

_TOGETHER = 4
_IMAGE = re.compile(rb"<img src=\S+?(?: alt='([^']*)')?>")


def _act(block: bytes) -> None:
    if b"CRASH-segfault" in block:
        ctypes.string_at(1)
    elif b"CRASH-kill" in block:
        os.kill(os.getpid(), signal.SIGKILL)
    elif b"CRASH-abort" in block:
        os.abort()
    elif b"CRASH-exit" in block:
        os._exit(int(os.environ.get("CRASH_STATUS", "3")))
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


class PairRows:
    """Accounts as the real ones; see the module."""

    def __init__(self, archive: str, max_links: int) -> None:
        self.records, self.links, self.pairs = (
            Account("records"),
            Account("links"),
            Account("pairs"),
        )
        self.is_one_by_one = False
        self.wat = None
        self.waiting: list[Record] = []

    def flush(self) -> list[dict[str, object]]:
        for record in self.waiting:
            _act(record.block)
        found: list[dict[str, object]] = []
        for record in self.waiting:
            self.records.keep()
            for image in _IMAGE.finditer(record.block):
                if image[1] is None:
                    self.links.drop(LinkReason.NO_CAPTION)
                    continue
                self.links.keep()
                self.pairs.keep()
                caption = image[1].decode()
                row = {"caption": caption, "page_url": record.url, "record_offset": record.offset}
                found.append(row)
        self.waiting = []
        return found


def read_rows(
    records: Iterable[Stretch | Record], rows: PairRows, max_record_bytes: int, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    found: list[dict[str, object]] = []
    for some in records:
        for record in (some,) if isinstance(some, Record) else some:
            if record.reason is not None:
                rows.records.drop(record.reason)
            else:
                rows.waiting.append(record)
        if rows.is_one_by_one or len(rows.waiting) >= _TOGETHER:
            found += rows.flush()
        if not rows.waiting and len(found) >= batch_rows:
            yield pa.RecordBatch.from_pylist(found)
            found = []
    found += rows.flush()
    if found:
        yield pa.RecordBatch.from_pylist(found)


def warm_up() -> None:
    """Nothing to load."""
