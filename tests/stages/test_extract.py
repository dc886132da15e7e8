"""The stage on archives it is given, and what it refuses."""

import gzip
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.stages.extract import STAGE, ExtractSection, archives, build
from tests.extract.archive import gz, response


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


@pytest.mark.spark
def test_every_archive_is_a_part_and_is_counted(spark, folder: Path, tmp_path: Path) -> None:
    section = ExtractSection(archives=(f"{folder}/*.warc.gz",))
    store = Store(str(tmp_path / "run"))
    ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
    accounts = {a.unit: a for a in build(ctx)}
    assert (accounts["records"].rows_in, accounts["records"].kept) == (5, 5)
    assert (accounts["links"].rows_in, accounts["links"].kept) == (10, 5)
    assert accounts["links"].dropped == {"no_caption": 5}
    rows = ctx.read(PAIRS).orderBy("archive").collect()
    assert [r.caption for r in rows] == [f"image {i}" for i in range(5)]
    assert len(store.committed(PAIRS)) == 5
