"""Folders as img2dataset writes them, for tests: its Parquet columns, and webdataset's own writer."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

# (URL, its picture or None where that failed)
Sample = tuple[str, bytes | None]

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "caption", "key", "status", "error_message")),
        *((name, pa.int32()) for name in ("width", "height", "original_width", "original_height")),
        *((name, pa.string()) for name in ("exif", "sha256")),
    ]
)


def write_shard(
    folder: Path, number: int, samples: Sequence[Sample], *, is_files: bool = False
) -> Path:
    """Write one shard of the output "webdataset", or "files"; its tar or folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(number, at, url, body) for at, (url, body) in enumerate(samples)]
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), folder / f"{number:05d}.parquet")
    (folder / f"{number:05d}_stats.json").write_text("{}")
    written = folder / (f"{number:05d}" if is_files else f"{number:05d}.tar")
    good = [(row, body) for row, (_, body) in zip(rows, samples, strict=True) if body is not None]
    if is_files:
        written.mkdir()
        for row, body in good:
            (written / f"{row['key']}.jpg").write_bytes(body)
            (written / f"{row['key']}.txt").write_text(str(row["caption"]))
            (written / f"{row['key']}.json").write_text(json.dumps(row))
        return written
    with webdataset.TarWriter(str(written)) as tar:
        for row, body in good:
            tar.write(
                {"__key__": row["key"], "jpg": body, "txt": row["caption"], "json": json.dumps(row)}
            )
    return written


def _row(number: int, at: int, url: str, body: bytes | None) -> dict[str, object]:
    is_good = body is not None
    return {
        "url": url,
        "caption": f"caption {at}",
        "key": f"{number:05d}{at:04d}",
        "status": "success" if is_good else "failed_to_download",
        "error_message": None if is_good else "HTTP Error 404: Not Found",
        "width": 64 if is_good else None,
        "sha256": hashlib.sha256(body).hexdigest() if body is not None else None,
    }
