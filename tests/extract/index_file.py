"""Writes indexes in the form of Common Crawl's."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def row(name: str, offset: int, length: int, i: int, **more) -> dict:
    """The page at some bytes; languages and domains go round."""
    return {
        "url_surtkey": f"example,d{i % 10})/{i}",
        "url": f"https://d{i % 10}.example/{i}",
        "url_host_registered_domain": f"d{i % 10}.example",
        "fetch_status": 200,
        "content_mime_detected": "text/html",
        "content_languages": ["kor", "eng", "jpn,kor", "eng,fra", None, "kora"][i % 6],
        "warc_filename": name,
        "warc_record_offset": offset,
        "warc_record_length": length,
    } | more


SCHEMA = pa.schema(
    [
        ("url_surtkey", pa.string()),
        ("url", pa.string()),
        ("url_host_registered_domain", pa.string()),
        ("fetch_status", pa.int16()),
        ("content_mime_detected", pa.string()),
        ("content_languages", pa.string()),
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int32()),
        ("warc_record_length", pa.int32()),
    ]
)


def write(path: Path, rows: Sequence[dict], group_rows: int = 50) -> None:
    table = pa.Table.from_pylist(sorted(rows, key=lambda r: r["url_surtkey"]), schema=SCHEMA)
    pq.write_table(table, path, row_group_size=group_rows)
