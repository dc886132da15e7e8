"""A file under its final name is whole; what a kill left behind is swept; parts hold accounts."""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.accounts import Account
from pipeline.core.storage import Store, Superseded
from pipeline.core.tables import Table, column

NUMBERS = Table("numbers", "Test rows.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_publish_is_all_or_nothing(tmp_path: Path, kind: str) -> None:
    store = Store(str(tmp_path) if kind == "local" else f"memory://{tmp_path}")
    with store.publish("a/b.bin") as file:
        file.write(b"first")
    with pytest.raises(RuntimeError):
        with store.publish("a/b.bin") as file:
            file.write(b"half of the sec")
            raise RuntimeError
    assert store.fs.cat_file(store.path("a/b.bin")) == b"first"
    assert [p.rsplit("/", 1)[1] for p in store.fs.find(store.path("a"))] == ["b.bin"]


def test_sweep_removes_only_leftovers(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / ".writing-0123-part-00000.parquet").write_bytes(b"killed here")
    (tmp_path / "t" / "part-00001.parquet").write_bytes(b"whole")
    assert store.committed(NUMBERS) == {}
    assert store.sweep("t") == 1
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["part-00001.parquet"]


def test_part_commits_rows_and_accounts_together(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.publish_part(NUMBERS, 7) as sink:
        sink.write_rows([{"n": 1}, {"n": 2}])
        account = Account("rows")
        account.keep(2)
        account.drop("odd")
        sink.accounts.append(account)
    assert list(store.committed(NUMBERS)) == [7]
    assert store.part_accounts(NUMBERS, 7) == [account]
    assert [b.to_pylist() for b in store.read_part(NUMBERS, 7)] == [[{"n": 1}, {"n": 2}]]


def test_part_that_fails_is_not_committed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(ValueError):
        with store.publish_part(NUMBERS, 0) as sink:
            sink.write_rows([{"n": 1}])
            raise ValueError
    assert store.committed(NUMBERS) == {}


def test_part_refuses_null_where_the_schema_does(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        with store.publish_part(NUMBERS, 0) as sink:
            sink.write(pa.table({"n": pa.array([None], pa.int64())}))
    assert store.committed(NUMBERS) == {}


def test_the_first_commit_of_a_part_stands(tmp_path: Path) -> None:
    """A task given up for lost ends after its successor: neither its file nor its rows count."""
    store = Store(str(tmp_path))
    rows = store.part_file(NUMBERS, 0)
    with pytest.raises(Superseded):
        with (
            store.publish_part(NUMBERS, 0) as late,
            store.publish("raw", unless=partial(store.exists, rows)) as file,
        ):
            file.write(b"late")
            late.write_rows([{"n": 1}])
            with store.publish_part(NUMBERS, 0) as sink:
                sink.write_rows([{"n": 2}])
    assert [b.to_pylist() for b in store.read_part(NUMBERS, 0)] == [[{"n": 2}]]
    assert not store.exists("raw") and store.sweep("numbers") == 0


def test_parts_of_a_table_in_folders(tmp_path: Path) -> None:
    table = Table("rows", "", (), pa.schema([column("part", pa.int32(), "")]), partition="part")
    store = Store(str(tmp_path))
    assert store.folders(table) == []
    for name in ("part=10/a.parquet", "part=9/a.parquet", "_SUCCESS"):
        with store.publish(f"rows/{name}"):
            pass
    assert store.folders(table) == [9, 10]
