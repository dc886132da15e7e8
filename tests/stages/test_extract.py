"""The stage on archives it is given, and what it refuses."""

import gzip
import random
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.extract.index import RANGES
from pipeline.stages.extract import STAGE, ExtractSection, archives, build, inputs, read_part
from tests.extract.archive import gz, response
from tests.extract.faulty import serve
from tests.extract.index_file import row, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        data = gz(response(f"<img src=/{i}.jpg alt='image {i}'><img src=n.jpg>".encode()))
        (tmp_path / f"{i}.warc.gz").write_bytes(data)
    return tmp_path


def test_globs_and_lists_are_expanded_sorted_and_once(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{folder}/3.warc.gz\n\n{folder}/1*.gz\n")
    section = ExtractSection(archives=(f"{folder}/[13].warc.gz", f"@{folder}/list.txt"))
    assert archives(section) == [f"{folder}/1.warc.gz", f"{folder}/3.warc.gz"]


def test_bad_input_is_named(folder: Path) -> None:
    (folder / "x.warc.gz").write_bytes(b"PK\3\4 a zip")
    for patterns, message in (
        ((), "nothing to read"),
        ((f"{folder}/none.warc.gz",), r"no archive at .*/none\.warc\.gz"),
        ((f"{folder}/*.wat.gz",), r"no archive matches .*\*\.wat\.gz"),
        ((f"{folder}/*.gz",), r"x\.warc\.gz is not gzip or WARC"),
    ):
        with pytest.raises(InputError, match=message):
            archives(ExtractSection(archives=patterns))


def test_crawl_is_sampled_by_seed_over_http(folder: Path) -> None:
    paths = folder / "crawl-data" / "CC-MAIN-2026-40"
    paths.mkdir(parents=True)
    names = "".join(f"{i}.warc.gz\n" for i in range(5))
    (paths / "wat.paths.gz").write_bytes(gzip.compress(names.encode()))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}/"
        section = ExtractSection(crawl="CC-MAIN-2026-40", files=3, seed=7, crawl_base_url=base)
        chosen = archives(section)
        assert len(set(chosen)) == 3 and all(a.startswith(base) for a in chosen)
        other = section.model_copy(update={"seed": 8})
        assert archives(other) != chosen
        with pytest.raises(InputError, match="has 5 wat archives"):
            archives(section.model_copy(update={"files": 6}))
    finally:
        server.shutdown()


def test_paths_of_a_crawls_list_are_below_its_base(folder: Path) -> None:
    """Relative lines of @lists: files here as they are, others as paths of the crawl."""
    (folder / "crawl-data").mkdir()
    (folder / "crawl-data" / "x.warc.gz").write_bytes((folder / "0.warc.gz").read_bytes())
    paths = folder / "warc.paths.gz"
    paths.write_bytes(gzip.compress(f"crawl-data/x.warc.gz\n{folder}/1.warc.gz\n".encode()))
    section = ExtractSection(archives=(f"@{paths}",), crawl_base_url=f"{folder}/")
    assert archives(section) == [f"{folder}/1.warc.gz", f"{folder}/crawl-data/x.warc.gz"]
    paths.write_bytes(gzip.compress(b"crawl-data/none.warc.gz\n"))
    with pytest.raises(InputError, match=f"no archive at {folder}/crawl-data/none"):
        archives(section)
    paths.write_bytes(b"\x1f\x8b\x08 no gzip")
    with pytest.raises(InputError, match=f"list of archives {paths} cannot be read"):
        archives(section)


def test_range_of_a_crawl(folder: Path) -> None:
    paths = folder / "crawl-data" / "CC-MAIN-2026-40"
    paths.mkdir(parents=True)
    names = [f"{i}.warc.gz" for i in (3, 1, 4, 0, 2)]
    (paths / "warc.paths.gz").write_bytes(gzip.compress("\n".join(names).encode()))
    section = ExtractSection(
        crawl="CC-MAIN-2026-40", crawl_kind="warc", sample=False, crawl_base_url=f"{folder}/"
    )

    def chosen(**more: object) -> list[str]:
        found = archives(section.model_copy(update=more))
        assert all(a.startswith(f"{folder}/") for a in found)
        return [a.rpartition("/")[2][0] for a in found]

    assert chosen(files=2) == ["0", "1"]
    assert chosen(files=2, first_file=3) == ["3", "4"]
    assert chosen(files=0, first_file=2) == ["2", "3", "4"]
    assert chosen(files=0) == list("01234")
    for more, message in (
        ({"files": 2, "first_file": 4}, "has 5 warc archives, fewer than files = 2 from first_f"),
        ({"files": 0, "first_file": 5}, "has 5 warc archives"),
        ({"first_file": 1, "sample": True}, "first_file needs extract.sample = false"),
        ({"crawl": "CC-MAIN-2026-41"}, "list of archives .*2026-41.* cannot be read"),
        ({"index_languages": ("kor",)}, "need extract.index"),
    ):
        with pytest.raises(InputError, match=message):
            chosen(**more)


def test_index_and_archives_are_one_or_the_other(folder: Path) -> None:
    write(folder / "i.parquet", [row("0.warc.gz", 0, 9, 0)])
    section = ExtractSection(index=str(folder / "i.parquet"), index_languages=("kor",))
    ((name, size),) = inputs(section)
    assert name == str(folder / "i.parquet") and size > 0
    for more, message in (
        ({"crawl": "CC-MAIN-2026-40"}, "take out extract.crawl"),
        ({"index_languages": ()}, "needs extract.index_languages or"),
        ({"index": f"{folder}/none"}, "extract.index = .*none"),
    ):
        with pytest.raises(InputError, match=message):
            inputs(section.model_copy(update=more))


def run(spark, root: Path, section: ExtractSection):
    """(store, accounts by unit, rows by archive, offset and position)."""
    store = Store(str(root))
    ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
    accounts = {a.unit: a for a in build(ctx)}
    for account in accounts.values():
        account.check("extract")
    rows = ctx.read(PAIRS).orderBy("archive", "record_offset", "position").collect()
    return store, accounts, rows


@pytest.mark.spark
def test_every_archive_is_a_part_and_a_rerun_does_what_is_missing(
    spark, folder: Path, tmp_path: Path
) -> None:
    section = ExtractSection(archives=(f"{folder}/*.warc.gz",))
    store, accounts, rows = run(spark, tmp_path / "run", section)
    assert (accounts["records"].rows_in, accounts["records"].kept) == (5, 5)
    assert (accounts["links"].rows_in, accounts["links"].kept) == (10, 5)
    assert accounts["links"].dropped == {"no_caption": 5}
    assert [r.caption for r in rows] == [f"image {i}" for i in range(5)]
    parts = store.committed(PAIRS)
    assert len(parts) == 5
    # A part that is there is not read again, whatever its archive holds by now.
    Path(parts[3]).unlink()
    for i in range(5):
        data = gz(response(f"<img src=/new{i}.jpg alt='new {i}'>".encode()))
        (folder / f"{i}.warc.gz").write_bytes(data)
    _, _, rows = run(spark, tmp_path / "run", section)
    captions = [r.caption for r in rows]
    assert captions == ["image 0", "image 1", "image 2", "new 3", "image 4"]


@pytest.mark.spark
def test_archive_that_cannot_be_read_is_named(spark, folder: Path, tmp_path: Path) -> None:
    section = ExtractSection(archives=(f"{folder}/*.warc.gz",))
    found = archives(section)
    (folder / "2.warc.gz").unlink()
    store = Store(str(tmp_path / "run"))
    with store.publish_part(PAIRS, 2) as sink, pytest.raises(InputError, match=r"2\.warc\.gz"):
        read_part(section, 2, found[2], sink)


@pytest.fixture(scope="module")
def crawl() -> tuple[bytes, list[dict]]:
    """An archive of 400 pages and its index."""
    rng = random.Random(4)
    members, rows, at = [], [], 0
    for i in range(400):
        page = (
            f"<img src=/{i}.jpg alt='image {i}'><p>".encode() + rng.randbytes(9000).hex().encode()
        )
        member = gz(response(page, url=f"https://d{i % 10}.example/{i}"))
        for name in ("crawl-data/a.warc.gz", "crawl-data/b.warc.gz"):
            rows.append(row(name, at, len(member), i))
        members.append(member)
        at += len(member)
    return b"".join(members), rows


@pytest.mark.spark
def test_pages_of_an_index_are_read_and_little_else(
    spark, crawl: tuple[bytes, list[dict]], tmp_path: Path
) -> None:
    data, rows = crawl
    index = tmp_path / "index"
    index.mkdir()
    for part in range(3):
        write(index / f"part-{part}.parquet", rows[part::3])
    local = tmp_path / "crawl-data"
    local.mkdir()
    for name in ("a", "b"):
        (local / f"{name}.warc.gz").write_bytes(data)
    whole_section = ExtractSection(archives=(f"{local}/*.gz",))
    _, _, whole = run(spark, tmp_path / "whole", whole_section)
    wanted = {
        (r["warc_filename"], r["warc_record_offset"])
        for r in rows
        if r["url_host_registered_domain"] == "d4.example"
        and "kor" in (r["content_languages"] or "").split(",")
    }
    with serve(data) as server:
        section = ExtractSection(
            index=str(index),
            index_languages=("kor",),
            index_domains=("d4.example",),
            index_pages_per_part=1,
            index_max_gap_bytes=1000,
            crawl_base_url=f"{server.url}/ok/",
        )
        store, accounts, found = run(spark, tmp_path / "run", section)
        assert server.bytes_sent < len(data) / 5
        asked = server.gets.total()
        for file in store.committed(RANGES).values():
            assert Path(file).exists()
        Path(store.committed(PAIRS)[1]).unlink()
        _, _, again = run(spark, tmp_path / "run", section)
        assert again == found and server.gets.total() < 2 * asked

    def named(row, base: str) -> tuple[str, int]:
        return row.archive.removeprefix(base), row.record_offset

    assert len(wanted) > 10 and len(store.committed(PAIRS)) == 2
    assert {named(r, f"{server.url}/ok/") for r in found} == wanted
    same = [r for r in whole if named(r, f"{tmp_path}/") in wanted]
    assert [r[:-3] for r in found] == [r[:-3] for r in same]
    assert accounts["records"].rows_in == accounts["records"].kept == len(wanted)


@pytest.mark.spark
def test_index_without_a_page_gives_a_table_without_rows(spark, tmp_path: Path) -> None:
    write(tmp_path / "i.parquet", [row("a", i, 9, i) for i in range(9)])
    section = ExtractSection(index=str(tmp_path / "i.parquet"), index_languages=("xxx",))
    _, accounts, rows = run(spark, tmp_path / "run", section)
    assert rows == [] and not accounts.get("records")


@pytest.mark.spark
def test_lists_are_read_in_parts_and_a_rerun_does_what_is_missing(spark, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    urls = [f"https://i.example/{i}.jpg" for i in range(10)]
    table = pa.table({"url": urls, "text": [f"picture {i}" for i in range(10)]})
    pq.write_table(table, lists / "a.parquet", row_group_size=2)
    (lists / "b.csv").write_text("URL,caption\nhttps://i.example/x.jpg,one more\nnone,\n")
    section = ExtractSection(lists=(str(lists),), list_rows_per_part=4)
    assert inputs(section) == [[str(f), f.stat().st_size] for f in sorted(lists.iterdir())]
    store, accounts, rows = run(spark, tmp_path / "run", section)
    assert len(store.committed(PAIRS)) == 4 and len(rows) == 11
    assert [r.record_offset for r in rows if r.archive.endswith("a.parquet")] == list(range(10))
    assert accounts["records"].kept == 12 and accounts["links"].dropped == {"bad_url": 1}
    kept = Path(store.committed(PAIRS)[0])
    Path(store.committed(PAIRS)[1]).unlink()
    before = kept.stat().st_mtime_ns
    _, _, again = run(spark, tmp_path / "run", section)
    assert again == rows and kept.stat().st_mtime_ns == before


def test_lists_and_archives_are_one_or_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,text\n")
    section = ExtractSection(lists=(f"{tmp_path}/a.csv",), crawl="CC-MAIN-2026-40")
    with pytest.raises(InputError, match="take out extract.archives, crawl and index"):
        inputs(section)
