"""The files of the `hosts` table: what robots.txt files said, kept from one run to the next.

`hosts/bucket-<n>.parquet` holds the sites whose host name falls into bucket n, one row each, in
order. A task reads the rows of its hosts and publishes one file with what it learnt in
`hosts/learnt/`; the driver folds those into the buckets before and after its tasks run. Two runs
that share a root may fold at the same time: what one of them loses is asked for again.

A row is worth a day at most, so the table is as large as what was crawled in a day: about 100 bytes
a host. Every task reads all of it and keeps the rows of its hosts.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.storage import Store
from pipeline.core.tables import HOSTS

Row = dict[str, Any]

_KEPT_S = 86_400  # after a row has expired, since what failed is then asked for less often
_BUCKETS = 64
_LEARNT = f"{HOSTS.name}/learnt"
# A fold takes up to so many rows at once, which bounds the memory of the driver.
_ROWS_PER_FOLD = 500_000


def rows_of(store: Store, hosts: Iterable[str]) -> Iterator[Row]:
    """The rows of some hosts."""
    by_bucket: dict[int, list[str]] = {}
    for host in hosts:
        by_bucket.setdefault(_bucket(host), []).append(host)
    for bucket, names in by_bucket.items():
        yield from _rows(store, bucket, pa.array(names, pa.string()))


def publish(store: Store, rows: list[Row]) -> None:
    """Put rows where the next fold finds them."""
    table = pa.Table.from_pylist(rows, HOSTS.schema)
    with store.publish(f"{_LEARNT}/{uuid.uuid4().hex}.parquet") as file:
        pq.write_table(table, file, compression="zstd")


def fold(store: Store, clock: Callable[[], float] = time.time) -> None:
    """Bring what tasks learnt into the buckets; rows that expired a day ago are dropped.

    A killed fold is repeated without harm: of the rows of a site the newest counts.
    """
    store.sweep(HOSTS.name)
    for files, learnt in _learnt(store):
        buckets = np.array([_bucket(host) for host in learnt.column("host").to_pylist()])
        for bucket in np.unique(buckets).tolist():
            rows = learnt.filter(pa.array(buckets == bucket))
            name = _file(bucket)
            if store.exists(name):
                rows = pa.concat_tables([_table(store, store.path(name)), rows])
            rows = _newest(rows)
            rows = rows.filter(pc.greater(rows.column("expires_at"), int(clock()) - _KEPT_S))
            with store.publish(name) as file:
                pq.write_table(rows, file, compression="zstd")
        for path in files:
            with suppress(FileNotFoundError):
                store.fs.rm(path)


def _learnt(store: Store) -> Iterator[tuple[list[str], pa.Table]]:
    """What tasks have published, some files at a time."""
    folder = store.path(_LEARNT)
    listed = store.fs.ls(folder, detail=False) if store.fs.exists(folder) else []
    files: list[str] = []
    tables: list[pa.Table] = []
    for path in sorted(path for path in listed if path.endswith(".parquet")):
        # Gone: another run that shares the table has folded it.
        with suppress(FileNotFoundError):
            tables.append(_table(store, path))
            files.append(path)
        if sum(map(len, tables)) >= _ROWS_PER_FOLD:
            yield files, pa.concat_tables(tables)
            files, tables = [], []
    if tables:
        yield files, pa.concat_tables(tables)


def _newest(rows: pa.Table) -> pa.Table:
    """The newest row of every key, ordered by host."""
    keys = ("host", "scheme", "port", "agent")
    order = [(key, "ascending") for key in keys] + [("fetched_at", "ascending")]
    rows = rows.sort_by(order).combine_chunks()
    is_last = np.ones(len(rows), bool)
    is_last[:-1] = False
    for key in keys:
        column = rows.column(key)
        is_last[:-1] |= pc.not_equal(column[1:], column[:-1]).to_numpy()
    return rows.filter(pa.array(is_last))


def _rows(store: Store, bucket: int, hosts: pa.Array) -> Iterator[Row]:
    """The rows of some hosts in a bucket."""
    try:
        with store.open_table(store.path(_file(bucket))) as rows:
            for batch in rows.iter_batches():
                chosen = batch.filter(pc.is_in(batch.column("host"), value_set=hosts))
                yield from chosen.to_pylist()
    except FileNotFoundError:
        return


def _table(store: Store, path: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(store.fs.cat_file(path))).cast(HOSTS.schema)


def _file(bucket: int) -> str:
    return f"{HOSTS.name}/bucket-{bucket:02d}.parquet"


def _bucket(host: str) -> int:
    return blake2b(host.encode(), digest_size=1).digest()[0] % _BUCKETS
