"""Lists of URLs and captions: which files, which columns, which rows, and what is refused."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.ids import image_id, pair_id
from pipeline.extract.list_rows import ListRows
from pipeline.extract.lists import Columns, ListPart, Wanted, list_files, split

ROWS: list[tuple[str | None, str | None]] = [
    ("https://a.example/1.jpg?utm_source=x#top", " A  red\tcar "),
    ("https://b.example/2.jpg", "강아지"),
    ("/relative.jpg", "lost"),
    ("ftp://c.example/3.jpg", "not http"),
    ("data:image/png;base64,AA", "inline"),
    ("https://d.example/4.jpg", "  "),
    (None, "no address"),
    ("https://e.example/5.jpg", None),
    ("https://a.example/1.jpg", 'says "hi", twice'),
]


def files_of(*patterns: object, wanted: Wanted = Wanted()) -> Any:  # noqa: B008
    return list_files(tuple(map(str, patterns)), wanted)


def read(part: ListPart, batch_rows: int = 4) -> tuple[list[dict[str, Any]], ListRows]:
    rows = ListRows(part, batch_rows)
    found = [row for batch in rows.read() for row in batch.to_pylist()]
    for account in (rows.records, rows.links, rows.pairs):
        account.check("test")
    return found, rows


def write(folder: Path, kind: str, names: tuple[str, str] = ("url", "text")) -> Path:
    path = folder / f"list.{kind}"
    if kind == "parquet":
        columns = [[row[i] for row in ROWS] for i in (0, 1)]
        table = pa.table({"id": range(len(ROWS)), names[0]: columns[0], names[1]: columns[1]})
        pq.write_table(table, path, row_group_size=2)
        return path
    text = io.StringIO()
    if kind.startswith("jsonl"):
        text.writelines(json.dumps({"id": 1, names[0]: u, names[1]: c}) + "\n" for u, c in ROWS)
    else:
        writer = csv.writer(text, delimiter="\t" if kind.startswith("tsv") else ",")
        writer.writerow(["id", *names])
        writer.writerows((i, u or "", c or "") for i, (u, c) in enumerate(ROWS))
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl", "csv.gz", "tsv.gz", "jsonl.gz"])
@pytest.mark.parametrize("names", [("url", "text"), ("URL", "TEXT"), ("image_url", "caption")])
def test_every_kind_gives_the_same_rows(tmp_path: Path, kind: str, names: tuple[str, str]) -> None:
    path = write(tmp_path, kind, names)
    (file,) = files_of(tmp_path)
    assert (file.path, file.columns) == (str(path), Columns(*names))
    (part,) = split([file], 100)
    found, rows = read(part)
    assert [(r["canonical_url"], r["caption"], r["record_offset"]) for r in found] == [
        ("https://a.example/1.jpg", "A red car", 0),
        ("https://b.example/2.jpg", "강아지", 1),
        ("https://a.example/1.jpg", 'says "hi", twice', 8),
    ]
    first = found[0]
    assert first["image_id"] == image_id("https://a.example/1.jpg")
    assert first["pair_id"] == pair_id(first["image_id"], "A red car")
    assert first["caption_original"] == " A  red\tcar " and found[1]["caption_original"] is None
    assert first["archive"] == str(path) and first["caption_kind"] == "list"
    assert first["domain"] == "a.example" and first["page_url"] == "" == first["page_domain"]
    assert found[1]["caption_lang"] == "ko"
    assert rows.records.kept == len(ROWS) and rows.pairs.kept == 3
    assert rows.links.dropped == {"bad_url": 2, "not_http": 1, "data_url": 1, "no_caption": 2}


def test_row_groups_are_parts_with_the_numbers_of_their_rows(tmp_path: Path) -> None:
    write(tmp_path, "parquet")
    files = files_of(tmp_path)
    parts = split(files, 4)
    assert [(p.first, p.stop, p.row) for p in parts] == [(0, 2, 0), (2, 4, 4), (4, 5, 8)]
    whole = read(split(files, 100)[0])[0]
    assert [row for part in parts for row in read(part, 3)[0]] == whole


def test_bad_rows_are_counted_and_cost_themselves(tmp_path: Path) -> None:
    good = {"url": "https://a.example/1.jpg", "text": "fine"}
    lines = [json.dumps(good), "{broken", "[1]", json.dumps(good | {"text": 5}), "", json.dumps({})]
    lines += [json.dumps(good | {"text": "\ud800"}), json.dumps(good)]
    (tmp_path / "a.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"url": "\xff"}\n')
    (tmp_path / "b.csv").write_bytes(
        b"url,text\nhttps://a.example/1.jpg,one\nx,y,z\nonly\nhttps://a.example/\xff.jpg,two\n"
        b'https://a.example/2.jpg,"a\nb"\n'
    )
    lines_part, text_part = split(files_of(tmp_path), 100)
    found, rows = read(lines_part)
    assert [r["record_offset"] for r in found] == [0, 7]
    assert rows.records.dropped == {"unparsable": 5} and rows.links.dropped == {"bad_url": 1}
    found, rows = read(text_part)
    assert [r["caption"] for r in found] == ["one", "a b"]
    assert rows.records.dropped == {"unparsable": 3}


def test_pages_are_taken_where_a_list_has_them(tmp_path: Path) -> None:
    rows = ["url,caption,page_url", "https://i.example/1.jpg,x,https://www.news.co.kr/a"]
    (tmp_path / "a.csv").write_text("\n".join([*rows, "https://i.example/2.jpg,y,junk"]))
    found, _ = read(split(files_of(tmp_path), 1)[0])
    assert [(r["page_url"], r["page_domain"]) for r in found] == [
        ("https://www.news.co.kr/a", "news.co.kr"),
        ("", ""),
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    def refused(name: str, data: bytes, message: str, wanted: Wanted = Wanted()) -> None:  # noqa: B008
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"{name}.*{message}"):
            for part in split(files_of(path, wanted=wanted), 10):
                read(part)

    refused("a.parquet", b"PAR1 no", "cannot be read")
    refused("b.csv", b"", "is empty")
    refused("c.csv", b"link,words\n", "no url column: found 'link', 'words'; expected one of url,")
    refused("d.csv", b"url,words\n", "no caption column.*extract.caption_column")
    refused("e.csv", b"url,text\n", "expected 'alt'", Wanted(caption="alt"))
    refused("f.jsonl", b"no json\n", "cannot be read")
    refused("g.csv.gz", b"url,text\n", "cannot be read")
    packed = gzip.compress(b"url,text\n" + b"https://a.example/1.jpg,hello\n" * 9999)
    refused("h.csv.gz", packed[: len(packed) // 2], "cannot be read")
    refused("i.txt", b"url", "no known kind; allowed are .parquet")
    sink = io.BytesIO()
    pq.write_table(pa.table({"url": ["x"], "text": [1]}), sink)
    refused("j.parquet", sink.getvalue(), "column 'text' is int64; expected a string")
    with pytest.raises(InputError, match="no list at .*none"):
        files_of(tmp_path / "none*.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "00000.tar").touch()
    with pytest.raises(InputError, match=r"no list among the 1 files.*found \.tar"):
        files_of(tmp_path / "empty")


def test_damaged_pages_of_parquet_name_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet")
    data = bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"list\.parquet cannot be read"):
        read(split(files_of(tmp_path), 100)[0])


def test_folders_of_mixed_lists_read_each_file_by_its_own_columns(tmp_path: Path) -> None:
    write(tmp_path, "parquet", ("URL", "TEXT"))
    write(tmp_path, "csv")
    (tmp_path / "_stats.csv").write_text("a,b\n")
    (tmp_path / "00000_stats.json").write_text("{}")
    files = files_of(f"{tmp_path}/*", tmp_path)
    assert [f.columns.url for f in files] == ["url", "URL"]
    one, two = (read(p)[0] for p in split(files, 100))
    assert [r["pair_id"] for r in one] == [r["pair_id"] for r in two]


_TEXT = st.none() | st.text(max_size=30) | st.just("https://a.example/x.jpg")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(_TEXT, _TEXT), max_size=20), size=st.integers(1, 7))
def test_every_row_is_kept_or_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], size: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.jsonl"
    header = json.dumps({"url": "u", "text": "t"})
    lines = [header, *(json.dumps({"url": u, "text": t}) for u, t in rows)]
    path.write_text("\n".join(lines) + "\n")
    _, counted = read(split(files_of(path), 10)[0], size)
    assert counted.records.rows_in == len(lines) and counted.links.rows_in == counted.records.kept
