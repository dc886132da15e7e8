"""A table's file with a changed byte is never read: the file is named."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import checksums
from pipeline.core.errors import DamagedFile
from pipeline.core.rows import RowReader
from pipeline.core.storage import Store
from pipeline.core.tables import Table, column

WORDS = Table(
    "words",
    "Test rows.",
    ("n",),
    pa.schema([column("n", pa.int64(), "a number"), column("word", pa.string(), "its name")]),
)
ROWS = [{"n": n, "word": f"{n * 2654435761 % 2**32:x}"} for n in range(3000)]


def write(store: Store) -> str:
    with store.publish_part(WORDS, 0) as sink:
        sink.write_rows(ROWS)
    return store.path(store.part_file(WORDS, 0))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, bytes]:
    store = Store(str(tmp_path_factory.mktemp("sums")))
    return store, Path(write(store)).read_bytes()


def read(store: Store) -> list[dict[str, object]]:
    return [row for batch in store.read_part(WORDS, 0) for row in batch.to_pylist()]


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_told(written: tuple[Store, bytes], at: int, bit: int) -> None:
    store, whole = written
    path = Path(store.path(store.part_file(WORDS, 0)))
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= 1 << bit
    path.write_bytes(damaged)
    assert not checksums.holds(path)
    with pytest.raises(DamagedFile, match=re.escape(str(path))):
        read(store)
    with RowReader() as rows, pytest.raises(DamagedFile):
        rows.take(str(path), np.arange(len(ROWS)), ["n", "word"])
    path.write_bytes(whole)
    assert checksums.holds(path) and read(store) == ROWS


@given(st.data())
def test_what_is_read_is_what_lies_there(written: tuple[Store, bytes], data: st.DataObject) -> None:
    store, whole = written
    path = Path(store.path(store.part_file(WORDS, 0)))
    with path.open("rb") as file:
        checked = checksums.checked(file, path)
        for _ in range(3):
            at = data.draw(st.integers(0, len(whole) + 600))
            size = data.draw(st.integers(-1, 1500))
            checked.seek(at)
            assert checked.read(size) == whole[at:][: None if size < 0 else size]
            assert checked.tell() == at + len(whole[at:][: None if size < 0 else size])


@pytest.mark.parametrize("keep", [0, 1, 700, -1])
def test_a_cut_file_is_told(tmp_path: Path, keep: int) -> None:
    store = Store(str(tmp_path))
    path = Path(write(store))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFile, match=r"part-00000\.parquet is damaged"):
        read(store)


def test_a_flipped_bit_of_a_page_is_told_where_no_checksums_lie_beside(tmp_path: Path) -> None:
    """As on object storage."""
    store = Store(f"memory://{tmp_path}")
    path = write(store)
    whole = bytearray(store.fs.cat_file(path))
    whole[2000] ^= 1
    store.fs.pipe_file(path, bytes(whole))
    assert [f.rsplit("/", 1)[1] for f in store.fs.find(store.root)] == ["part-00000.parquet"]
    with pytest.raises(DamagedFile, match=r"part-00000\.parquet is damaged"):
        read(store)


def test_what_the_reader_does_itself_is_no_damage(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    path = write(store)
    with pytest.raises(OSError, match="disk"), store.open_table(path):
        raise OSError(28, "disk full")
    with pytest.raises(FileNotFoundError), store.open_table(f"{path}.gone"):
        pass


def test_a_part_that_is_made_again_has_its_own_checksums(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    path = Path(write(store))
    path.unlink()  # as the user is told to
    with store.publish_part(WORDS, 0) as sink:
        sink.write_rows(ROWS[:5])
    assert read(store) == ROWS[:5] and checksums.holds(path)
    with store.publish_part(WORDS, 0, 1) as sink:
        sink.write_rows(ROWS[:7])
    assert read(store) == ROWS[:7] and checksums.holds(path)
    assert sorted(p.name for p in path.parent.iterdir()) == [f".{path.name}.crc", path.name]


@given(st.lists(st.binary(max_size=1500), max_size=6))
def test_checksums_do_not_depend_on_how_it_was_written(pieces: list[bytes]) -> None:
    import io

    whole = checksums.Summed(io.BytesIO())
    whole.write(b"".join(pieces))
    parts = checksums.Summed(io.BytesIO())
    for piece in pieces:
        parts.write(piece)
    assert parts.sums() == whole.sums() and parts.tell() == len(b"".join(pieces))
