"""Builds one shard of a release from its rows and the raw tars; what a Spark task runs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import raw, release
from pipeline.core.accounts import Account
from pipeline.core.errors import ContractError
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import Table
from pipeline.shards import coyo, sample
from pipeline.shards.writer import ShardWriter


@dataclass(frozen=True)
class Job:
    """What all shards of a release share. Picklable.

    folder: the release being built, relative to the run.
    inputs: table of rows by shard: `shard_inputs`.
    shards: how many there will be.
    read_ahead_bytes: pictures held in memory at a time.
    coyo: what the files of COYO-700M's columns hold.
    """

    store: Store
    folder: str
    inputs: Table
    shards: int
    read_ahead_bytes: int
    coyo: coyo.Plan


def build(job: Job, shard: int, samples: int, sink: PartSink) -> None:
    """Write tar, index, sidecar and COYO-700M's columns of one shard, then its row.

    samples: how many it must have.

    Memory: the shard's rows (about 1 KiB each), `read_ahead_bytes` of pictures twice, one picture.
    Raises ContractError when the rows are not what was planned, InputError on damaged raw tars.
    """
    rows = _rows(job, shard, samples)
    name = f"{release.shard_name(shard, job.shards)}.tar"
    recorded = rows.select(sample.COLUMNS)
    with job.store.publish(f"{job.folder}/{name}") as file:
        writer = ShardWriter(file)
        for start, stop in _windows(rows["raw_bytes"].to_numpy(), job.read_ahead_bytes):
            columns = (rows[name][start:stop].to_pylist() for name in raw.PLACE)
            places = [raw.Place(*place) for place in zip(*columns, strict=True)]
            pictures = raw.read(job.store, places)
            for row, jpg in zip(
                recorded.slice(start, stop - start).to_pylist(), pictures, strict=True
            ):
                writer.add(row["pair_id"].hex(), jpg, row["caption"].encode(), sample.record(row))
        writer.close()
    with job.store.publish(f"{job.folder}/{release.index_path(name)}") as file:
        file.write(writer.index())
    with job.store.publish(f"{job.folder}/{release.sidecar_path(name)}") as file:
        # Page checksums, so that a flipped bit in a metadata column is found too.
        pq.write_table(_sidecar(rows, writer), file, compression="zstd", write_page_checksum=True)
    with job.store.publish(f"{job.folder}/{release.coyo_path(name)}") as file:
        columns = coyo.table(rows, job.coyo)
        pq.write_table(columns, file, compression="zstd", write_page_checksum=True)
    account = Account("samples")
    account.keep(writer.samples)
    sink.accounts.append(account)
    sink.bytes_beside = writer.size
    sink.write_rows(
        [
            {
                "shard": shard,
                "path": name,
                "samples": writer.samples,
                "bytes": writer.size,
                "sha256": writer.sha256,
            }
        ]
    )


def _rows(job: Job, shard: int, samples: int) -> pa.Table:
    batches = list(job.store.read_part(job.inputs, shard))
    rows = pa.Table.from_batches(batches).sort_by("pair_id")
    if rows.num_rows != samples:
        raise ContractError(
            f"shard {shard} has {rows.num_rows} rows in {job.inputs.name}, not {samples}"
        )
    ids = rows["pair_id"].combine_chunks()
    if pc.any(pc.equal(ids[1:], ids[:-1])).as_py():
        raise ContractError(f"shard {shard}: a pair_id occurs twice in {job.inputs.name}")
    return rows


def _windows(sizes: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """[start, stop) of runs of rows whose sizes sum to `limit` at most, or of one larger row."""
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and total + size > limit:
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def _sidecar(rows: pa.Table, writer: ShardWriter) -> pa.Table:
    fields = sample.metadata_fields([f for f in rows.schema if f.name != "shard"])
    keys = pa.array([i.hex() for i in rows["pair_id"].to_pylist()], pa.string())
    columns = {
        "key": keys,
        "pair_id": rows["pair_id"],
        "image_id": rows["image_id"],
        **writer.layout(),
        **{f.name: rows[f.name] for f in fields},
    }
    schema = pa.schema([*release.SIDECAR, *fields])
    return pa.Table.from_pydict(columns, schema=schema)
