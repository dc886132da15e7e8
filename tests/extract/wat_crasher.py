"""A reader whose rows die of a page that says so, when rows are made of all that wait."""

import os
import signal

import pyarrow as pa

from pipeline.extract import rows
from pipeline.extract.marks import HEAP
from pipeline.extract.rows import read_rows as read_rows
from pipeline.extract.rows import warm_up as warm_up


class PairRows(rows.PairRows):
    """As the real ones; see the module."""

    def flush(self) -> list[pa.RecordBatch]:
        texts = self._found.heap[: self._found.state[HEAP]].tobytes()
        if b"CRASH-kill" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"CRASH-raise" in texts:
            raise IndexError("a bug")
        return super().flush()
