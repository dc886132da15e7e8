"""The pages an index names are read, and hardly anything else."""

import gzip
import io
import random
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import InputError
from pipeline.extract.index import by_archive, index_files, read_index
from pipeline.extract.ranges import read_ranges
from pipeline.extract.records import read_records
from tests.extract.archive import response
from tests.extract.index_file import row, write

_RNG = random.Random(3)
MEMBERS = [
    gzip.compress(
        response(b"<img src=a alt=a>" + _RNG.randbytes(4000), url=f"https://d.example/{i}")
    )
    for i in range(300)
]
DATA = b"".join(MEMBERS)
OFFSETS = [sum(len(m) for m in MEMBERS[:i]) for i in range(len(MEMBERS))]


class Counting(io.BytesIO):
    """Counts what is read of it."""

    taken = reads = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        self.reads += 1
        return data


def ranges(chosen) -> list[tuple[int, int]]:
    return [(OFFSETS[i], len(MEMBERS[i])) for i in chosen]


@pytest.mark.parametrize("gap", [0, 10_000, 1 << 20])
def test_records_at_ranges_are_those_of_the_whole(gap: int) -> None:
    whole = list(read_records(io.BytesIO(DATA), 1 << 20))
    chosen = sorted(_RNG.sample(range(300), 40))
    file = Counting(DATA)
    assert list(read_ranges(file, ranges(chosen), 1 << 20, gap)) == [whole[i] for i in chosen]
    if gap == 0:
        assert file.taken == sum(len(MEMBERS[i]) for i in chosen)
    elif gap == 1 << 20:
        assert file.reads == 1


def test_ranges_that_hold_no_record_are_told() -> None:
    a, b, c = ranges([3, 4, 250])
    odd = [a, (b[0] + 5, b[1]), (c[0], c[1] - 9), (c[0] + 1, 0), (c[0] + 2, 1 << 40)]
    odd += [(len(DATA) - 10, 500), (len(DATA) + 10, 20), (1 << 60, 7)]
    found = list(read_ranges(io.BytesIO(DATA), odd, 1 << 20, 0))
    assert [r.reason and r.reason.value for r in found] == [
        None, "corrupt", "truncated", "corrupt", "too_large", "corrupt", "truncated", "truncated"
    ]  # fmt: skip
    assert [r.offset for r in found] == [offset for offset, _ in odd]


def test_range_over_several_records_is_its_first() -> None:
    found = list(read_ranges(io.BytesIO(DATA), [(OFFSETS[7], 60_000)], 1 << 20, 0))
    assert [r.url for r in found] == ["https://d.example/7"]


def places(path: Path | str, languages=(), domains=()) -> list[tuple[str, int]]:
    found = [r for t in read_index(str(path), languages, domains) for r in t.to_pylist()]
    return sorted((r["warc_filename"], r["warc_record_offset"]) for r in found)


def test_languages_and_domains(tmp_path: Path) -> None:
    path = tmp_path / "part-0.parquet"
    rows = [row("a", i, 9, i) for i in range(600)]
    rows += [row("b", i, 9, i, fetch_status=404) for i in range(60)]
    rows += [row("c", i, 9, i, content_mime_detected="image/png") for i in range(60)]
    rows += [row("d", i, 9, i, warc_filename=None) for i in range(60)]
    write(path, rows)
    korean = [i for i in range(600) if i % 6 in (0, 2)]
    assert places(path, ["kor"]) == [("a", i) for i in korean]
    assert places(path, ["jpn", "fra"]) == [("a", i) for i in range(600) if i % 6 in (2, 3)]
    on_d3 = [i for i in range(600) if i % 10 == 3]
    assert places(path, (), ["d3.example"]) == [("a", i) for i in on_d3]
    both = [("a", i) for i in korean if i % 10 == 4]
    assert both and places(path, ["kor"], ["d4.example", "x.example"]) == both
    assert places(path, ["xxx"]) == [] and places(path, [".*"]) == []


def test_an_index_on_another_file_system() -> None:
    with fsspec.open("memory://index-test/part-0.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pylist([row("a", i, 9, i) for i in range(60)]), file)
    found = places("memory://index-test/part-0.parquet", ["kor"])
    assert found == [("a", i) for i in range(60) if i % 6 in (0, 2)]


def test_row_groups_without_the_domain_are_not_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "part-0.parquet"
    write(path, [row("a", i, 9, i) for i in range(5000)], 500)
    read: list[int] = []
    original = pq.ParquetFile.iter_batches

    def counted(self, size, groups, columns):
        read.extend(groups)
        return original(self, size, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    assert len(places(path, (), ["d3.example"])) == 500
    assert len(set(read)) <= 2


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"x\.parquet is not readable Parquet"):
        places(tmp_path / "x.parquet", ["kor"])
    pq.write_table(pa.table({"url": ["a"]}), tmp_path / "y.parquet")
    with pytest.raises(InputError, match=r"y\.parquet lacks warc_filename"):
        places(tmp_path / "y.parquet", ["kor"])
    with pytest.raises(InputError, match="extract.index = .*none"):
        index_files(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no \.parquet"):
        index_files(str(tmp_path / "empty"))
    found = index_files(f"{tmp_path}/*.parquet")
    assert [name for name, _ in found] == [f"{tmp_path}/x.parquet", f"{tmp_path}/y.parquet"]
    assert index_files(str(tmp_path)) == found
    assert index_files(str(tmp_path / "x.parquet")) == found[:1]


def test_rows_are_grouped_by_archive_across_batches() -> None:
    names = ["a"] * 4 + ["b"] + ["c"] * 2
    offsets = [1, 1, 5, 9, 2, 0, 7]
    table = pa.table(
        {"warc_filename": names, "warc_record_offset": offsets, "warc_record_length": [3] * 7}
    )
    for size in (1, 2, 7):
        assert list(by_archive(iter(table.to_batches(size)))) == [
            ("a", [(1, 3), (5, 3), (9, 3)]),
            ("b", [(2, 3)]),
            ("c", [(0, 3), (7, 3)]),
        ]
    assert list(by_archive(iter([]))) == []
