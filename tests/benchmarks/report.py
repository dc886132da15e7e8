"""How long the report of ten million pairs takes, and how large its page is.

    make bench W=report

Tables as the stages write them, ten million rows each: measures with every filter of
conf/default.toml, decisions, pairs, candidates of one caption each, images of which a fifth failed,
and near-duplicates. Domains are spread as a power law over up to a million names. There are no
stored pictures, so that the page has none; with them it is larger by up to 8 MB, its budget.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.filter import Filter, measured_fields
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    CUTOFFS,
    DECISIONS,
    IMAGES,
    PAIRS,
    SCORES,
    SHARDS,
    Table,
    measures_table,
)
from pipeline.stages import report
from tests.benchmarks import machine
from tests.benchmarks.decide import (
    _FILE_ROWS,
    _chance,
    _constant,
    _ids,
    _measures,
    default_filters,
)
from tests.benchmarks.decide import write as write_measures

ROWS = 10_000_000
_DOMAINS = 1_000_000
_PICTURES = 0.8  # a pair
_STATUSES = np.array(["ok", "http_404", "timeout", "robots", "dns", "http_403"])
_STATUS_SHARES = np.cumsum([0.8, 0.08, 0.05, 0.04, 0.02])
_CONF = Path(__file__).resolve().parents[2] / "conf"


def run(scale: float = 1.0) -> dict[str, Any]:
    """Report on `ROWS * scale` pairs. page_mb: the size of the page."""
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    try:
        store, enabled = Store(root), default_filters()
        write(store, enabled, max(1000, int(ROWS * scale)))
        seconds, cpu, account = _reported(store, enabled)
        size = Path(root, report.REPORT).stat().st_size
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {
        "workload": "report",
        "items": account.rows_in,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "page_mb": round(size / 1e6, 2),
    }


def run_1m() -> dict[str, Any]:
    return run(0.1) | {"workload": "report-1m"}


def made(store: Store, scale: float) -> int:
    """A run with its tables, its report and the report's figures in `store`; how many pairs."""
    enabled = default_filters()
    write(store, enabled, max(1000, int(ROWS * scale)))
    _, _, account = _reported(store, enabled)
    return account.rows_in


def _reported(store: Store, enabled: Mapping[str, Filter]) -> tuple[float, float, Account]:
    """(seconds, CPU seconds, account) of the stage alone."""
    # What makes a folder a run; its records are small whatever the size.
    Path(store.path("_stages")).mkdir()
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--properties-file {_CONF / 'spark-local.conf'} "
        f"--conf spark.local.dir={store.path('spark')} pyspark-shell"
    )
    spark = session("benchmark report")
    spark.range(1).count()  # the session's own start is not the stage's cost
    section = report.ReportSection()
    sections = {"run": RunSection(root=store.root), "report": section}
    ctx: Context[Any] = Context("report", spark, store, section, sections, enabled)
    cpu, started = machine.spark_cpu_seconds(spark), time.perf_counter()
    (account,) = report.build(ctx)
    seconds = time.perf_counter() - started
    cpu = machine.spark_cpu_seconds(spark) - cpu
    spark.stop()
    return seconds, cpu, account


def write(store: Store, enabled: Mapping[str, Filter], rows: int) -> None:
    """Every table that the report reads, in files of half a million rows."""
    write_measures(store, enabled, rows)  # and what `match` gives
    measures = measures_table(measured_fields(enabled))
    reasons = [r for f in enabled.values() for b in f.bounds() for r in b.reasons]
    for part, start in enumerate(range(0, rows, _FILE_ROWS)):
        numbers = np.arange(start, min(start + _FILE_ROWS, rows), dtype=np.int64)
        told = _told(measures, enabled, numbers, rows)
        by_table = {
            measures: told,
            PAIRS: told | {"page_url": _texts("https://p.example/", numbers // 4)},
            SCORES: told,
            DECISIONS: told | _decided(numbers, reasons),
            IMAGES: told | _fetched(numbers),
        }
        for table, columns in by_table.items():
            with store.publish_part(table, part, 1 if table is measures else 0) as sink:
                sink.write(_table(table, columns, len(numbers)))
        _write_candidates(store, part, told, len(numbers))
    limits = [(n, b.measure, s, v) for n, f in enabled.items() for b in f.bounds()
              for s, v in b.sides.items() if isinstance(v, int | float)]  # fmt: skip
    with store.publish_part(CUTOFFS, 0) as sink:
        sink.write_rows(
            [
                {"filter": n, "measure": m, "side": s, "value": float(v), "how": "value"}
                for n, m, s, v in limits
            ]
        )
    with store.publish_part(SHARDS, 0) as sink:
        shard = {"shard": 0, "path": "00000.tar", "samples": rows, "bytes": 1, "sha256": "0" * 64}
        sink.write_rows([shard])


def _told(
    table: Table, enabled: Mapping[str, Filter], numbers: np.ndarray, rows: int
) -> dict[str, Any]:
    """What is said of the pairs, by column of `measures`; a pair has an image of its own here."""
    made = _measures(table, enabled, numbers, max(1, int(rows * _PICTURES)))
    told = {name: made[name] for name in made.schema.names}
    # Zipf's law by inverse transform: rank r with a chance of some 1 / r.
    rank = np.floor(_DOMAINS ** _chance(numbers, 40)).astype(np.int64)
    return told | {
        "domain": _texts("site-", rank, ".example"),
        "caption": _texts("a picture that was put on a page under the number ", numbers),
        "image_id": _ids(numbers, 1),
        "caption_lang": made["caption_lang"],
    }


def _texts(before: str, numbers: np.ndarray, after: str = "") -> pa.Array:
    return pc.binary_join_element_wise(before, pa.array(numbers).cast(pa.string()), after, "")


def _decided(numbers: np.ndarray, reasons: list[str]) -> dict[str, Any]:
    """Two fifths have no reason, others up to three."""
    count = (np.maximum(0.0, _chance(numbers, 41) - 0.4) / 0.6 * 3 + 0.999).astype(np.int64)
    count[_chance(numbers, 41) < 0.4] = 0
    first = (_chance(numbers, 42) * len(reasons)).astype(np.int64)
    which = (
        np.repeat(first, count)
        + np.arange(count.sum())
        - np.repeat(np.cumsum(count) - count, count)
    )
    names = pa.array(reasons).take(pa.array(which % len(reasons)))
    offsets = pa.array(np.concatenate([[0], np.cumsum(count)]).astype(np.int32))
    has = pa.array(count > 0)
    return {
        "is_kept": pa.array(count == 0),
        "reason": pc.if_else(has, pa.array(reasons).take(pa.array(first)), None),
        "reasons": pa.ListArray.from_arrays(offsets, names),
        "picture_id": _ids(numbers, 1),
    }


def _fetched(numbers: np.ndarray) -> dict[str, Any]:
    status = _STATUSES[np.searchsorted(_STATUS_SHARES, _chance(numbers, 43), side="right")]
    return {
        "status": pa.array(status),
        "consent": pa.array(np.where(status == "robots", "robots.txt", "allowed")),
        "http_status": pa.array(np.where(status == "http_404", 404, 200)),
        "fetched_at": pa.array(1_700_000_000 + numbers % 1000),
    }


def _table(table: Table, columns: Mapping[str, Any], rows: int) -> pa.Table:
    arrays = []
    for field in table.schema:
        value = columns.get(field.name)
        if value is None:
            value = pa.nulls(rows, field.type) if field.nullable else _constant(field, rows)
        arrays.append(value.cast(field.type, safe=False))
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _write_candidates(store: Store, part: int, told: Mapping[str, Any], rows: int) -> None:
    of_caption = CANDIDATES.schema.field("captions").type.value_type
    said = {n: c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for n, c in told.items()}
    one = pa.StructArray.from_arrays(
        [
            (said[f.name] if f.name in said else _constant(f, rows)).cast(f.type, safe=False)
            for f in of_caption
        ],
        fields=list(of_caption),
    )
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), one)
    columns = told | {"captions": lists}
    table = _table(CANDIDATES, columns, rows).drop_columns(["part"])
    import pyarrow.parquet as pq

    with store.publish(f"{CANDIDATES.name}/part={part}/part-00000.parquet") as file:
        pq.write_table(table, file, compression="zstd")
