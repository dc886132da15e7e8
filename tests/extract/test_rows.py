"""Rows come while an archive is read, whatever it is made of, and the accounts keep up with them."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pytest

from pipeline.extract.record import Record
from pipeline.extract.records import read_many, read_records
from pipeline.extract.rows import PairRows, read_rows
from pipeline.extract.stretch import Stretch
from tests.extract.archive import gz, record, response, wat

MAX_BYTES = 8 << 20
LINKS = 500


def html_page(i: int) -> bytes:
    images = "".join(f"<img src=/{i}/{k}.jpg alt='A caption {i} of {k}'>" for k in range(LINKS - 1))
    label = f"<b id=label>A label {i}</b><img src=/{i}/l.jpg aria-labelledby=label>"
    return response((label + images).encode(), url=f"https://page.example/{i}")


def wat_page(i: int) -> bytes:
    links = [
        {"path": "IMG@/src", "url": f"/{i}/{k}.jpg", "alt": f"A caption {i} of {k}"}
        for k in range(LINKS)
    ]
    return wat(links, url=f"https://page.example/{i}")


def other(i: int) -> bytes:
    return record("request", f"https://page.example/{i}", "application/http", b"GET / HTTP/1.1")


def rows_of(records: Iterator[Stretch | Record], rows: PairRows) -> list[pa.RecordBatch]:
    """All batches; at each, what was counted is what came."""
    found: list[pa.RecordBatch] = []
    for batch in read_rows(records, rows, MAX_BYTES, 1000):
        found.append(batch)
        assert rows.pairs.kept == sum(map(len, found))
    return found


@pytest.mark.parametrize(
    "makers", [(html_page,), (wat_page, other), (html_page, wat_page, other)], ids=len
)
@pytest.mark.parametrize("pack", [gz, lambda *r: b"".join(r)], ids=["gzip", "plain"])
def test_rows_come_while_an_archive_is_read(makers, pack) -> None:
    pages = 120
    data = pack(*(make(i) for i in range(pages) for make in makers))
    rows = PairRows("x", 10_000)
    batches = rows_of(read_many(io.BytesIO(data), MAX_BYTES), rows)
    kept = pages * (len(makers) - (other in makers))
    assert rows.records.kept == kept and rows.records.rows_in == pages * len(makers)
    assert rows.pairs.kept == kept * LINKS
    # Neither all at the end nor page by page.
    assert 3 <= len(batches) and max(map(len, batches)) < kept * LINKS / 2
    for batch in batches:
        for row in batch.select(["page_url", "url", "caption"]).to_pylist():
            page = row["page_url"].rpartition("/")[2]
            assert row["url"].split("/")[3] == page == row["caption"].split()[2]
    offsets = [o for batch in batches for o in batch["record_offset"].to_pylist()]
    assert offsets == sorted(offsets)


def test_one_by_one_gives_the_same_rows() -> None:
    makers = html_page, other, wat_page, wat_page, other, html_page
    data = gz(*(make(i) for i, make in enumerate(makers)))
    together, single = PairRows("x", 10_000), PairRows("x", 10_000)
    single.is_one_by_one = True
    expected = rows_of(read_many(io.BytesIO(data), MAX_BYTES), together)
    found = rows_of(read_records(io.BytesIO(data), MAX_BYTES), single)
    assert pa.Table.from_batches(found) == pa.Table.from_batches(expected)
    assert len(found) == 2
    assert single.records == together.records and single.links == together.links
