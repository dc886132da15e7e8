"""Rows of Parquet files by number."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DamagedFile
from pipeline.core.rows import RowReader


def write(path: Path, rows: int, group: int) -> pa.Table:
    table = pa.table({"a": np.arange(rows), "b": [bytes([i % 256]) * 3 for i in range(rows)]})
    pq.write_table(table, path, row_group_size=group)
    return table


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 15), st.data())
def test_they_are_those_of_the_whole_table(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("rows") / "t.parquet"
    table = write(path, rows, group)
    wanted = data.draw(st.lists(st.integers(0, rows - 1), max_size=20))
    with RowReader() as reader:
        found = reader.take(str(path), np.array(wanted, np.int64), ["b"])
    assert found.equals(table.select(["b"]).take(pa.array(wanted, pa.int64())))


def test_only_the_row_groups_of_the_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path, 1000, 10)
    data = bytearray(path.read_bytes())
    file = pq.ParquetFile(path)
    for group in range(100):
        if group not in (3, 70):
            chunk = file.metadata.row_group(group).column(1)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            data[start : start + chunk.total_compressed_size] = (
                b"\xff" * chunk.total_compressed_size
            )
    path.write_bytes(data)
    with RowReader() as reader:
        found = reader.take(str(path), np.array([705, 31], np.int64), ["b"])
        assert found.column("b").to_pylist() == [bytes([705 % 256]) * 3, bytes([31]) * 3]
        with pytest.raises(DamagedFile):
            reader.take(str(path), np.array([500], np.int64), ["b"])


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_is_told(tmp_path: Path, row: int) -> None:
    path = tmp_path / "t.parquet"
    write(path, 5, 2)
    with RowReader() as reader, pytest.raises(IndexError, match=rf"t\.parquet has no row {row}"):
        reader.take(str(path), np.array([0, row], np.int64), ["a"])


def test_many_files_are_read_in_turn(tmp_path: Path) -> None:
    for n in range(40):
        pq.write_table(pa.table({"n": [n]}), tmp_path / f"{n}.parquet")
    with RowReader() as reader:
        for _ in range(2):
            for n in range(40):
                found = reader.take(str(tmp_path / f"{n}.parquet"), np.array([0]), ["n"])
                assert found.column("n").to_pylist() == [n]
