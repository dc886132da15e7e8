"""Rows of Parquet files by their number, without reading the others' row groups."""

from collections import OrderedDict
from typing import IO, Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from pipeline.core.table_files import damage_told, table_file

Rows = NDArray[np.int64]
_FILES_KEPT = 16  # open at a time


class _Opened(NamedTuple):
    """ends: of each row group, in rows of the file."""

    handle: IO[bytes]
    file: pq.ParquetFile
    ends: Rows


class RowReader:
    """Reads rows of any number of files; keeps the last ones open. Not thread-safe."""

    def __init__(self) -> None:
        self._opened: OrderedDict[str, _Opened] = OrderedDict()

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *_: Any) -> None:
        while self._opened:
            self._close_oldest()

    def take(self, path: str, rows: Rows, columns: list[str]) -> pa.Table:
        """The rows of those numbers (from 0), in that order.

        Memory: the row groups they lie in. Raises FileNotFoundError without the file, IndexError
        for a number that it has not, DamagedFile when its bytes are not those that were written.
        """
        opened = self._open(path)
        if len(rows) and (rows.min() < 0 or rows.max() >= (opened.ends[-1:].sum())):
            raise IndexError(f"{path} has no row {rows.max() if rows.min() >= 0 else rows.min()}")
        group = np.searchsorted(opened.ends, rows, side="right")
        groups, place = np.unique(group, return_inverse=True)
        with damage_told(path):
            found = opened.file.read_row_groups(groups.tolist(), columns=columns)
        sizes = np.diff(opened.ends, prepend=0)
        before = np.cumsum(sizes[groups]) - sizes[groups]
        starts = opened.ends[group] - sizes[group]
        return found.take(pa.array(before[place] + rows - starts))

    def _open(self, path: str) -> _Opened:
        if path in self._opened:
            self._opened.move_to_end(path)
            return self._opened[path]
        fs, inner = fsspec.core.url_to_fs(path)
        handle = fs.open(inner, "rb")
        with damage_told(path):
            file = table_file(handle, inner if isinstance(fs, LocalFileSystem) else None)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._opened[path] = _Opened(handle, file, np.cumsum(sizes, dtype=np.int64))
        if len(self._opened) > _FILES_KEPT:
            self._close_oldest()
        return self._opened[path]

    def _close_oldest(self) -> None:
        _, oldest = self._opened.popitem(last=False)
        oldest.file.close()
        oldest.handle.close()
