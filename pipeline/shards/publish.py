"""Writes releases outside the line, shard by shard, from samples that are there already."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.claim import claimed
from pipeline.core.errors import ContractError, InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.shards import coyo
from pipeline.shards.card import card
from pipeline.shards.writer import ShardWriter

# key, jpg, txt, json
Sample = tuple[str, bytes, bytes, bytes]
# In the footer of a sample table: the sample table is a shard's last file, so that it also says
# that the shard is done, and what of.
_DONE = b"pairmill.shard"
_BESIDE = (release.index_path, release.sidecar_path, release.coyo_path)


@contextmanager
def owned(out: str) -> Iterator[None]:
    """While the block runs nobody else writes a release there. Raises as `start`, and
    EnvironmentProblem when somebody does."""
    store = Store(out)
    _refuse_taken(store)
    with claimed(store, f"{release.META}/.claim"):
        yield


def start(store: Store) -> None:
    """Make ready to write a release in the folder of a store, without what killed writers left.

    Raises InputError where a finished release, or something else, is. Writers that may race do so
    under `owned`.
    """
    _refuse_taken(store)
    store.sweep("")


def _refuse_taken(store: Store) -> None:
    if store.exists(release.MANIFEST):
        raise InputError(f"{store.root} is a release already; a release is never changed")
    if store.exists("") and store.fs.ls(store.root) and not store.exists(release.META):
        raise InputError(f"{store.root} holds something that is no release; name another folder")


def shard_ranges(samples: int, per_shard: int) -> list[tuple[int, int]]:
    """[start, stop) of the samples of each shard: as many shards as comes nearest to `per_shard`,
    none longer than another by more than one sample."""
    shards = max(1, (samples + per_shard // 2) // per_shard)
    edges = [samples * shard // shards for shard in range(shards + 1)]
    return list(itertools.pairwise(edges))


def write_shard(
    store: Store, name: str, origin: str, samples: Iterable[Sample], metadata: pa.Table
) -> ShardEntry:
    """Write tar, index and sample table of a shard, unless an earlier attempt at the same has.

    name: of the tar. origin: says what it is made of; what was made of something else is written
    again. metadata: pair_id, image_id and what else is known, a row per sample, in their order.
    Raises ContractError when samples and rows are not as many.
    """
    done = _finished(store, name, origin)
    if done:
        return done
    with store.publish(name) as file:
        writer = ShardWriter(file)
        keys = []
        for sample in samples:
            writer.add(*sample)
            keys.append(sample[0])
        writer.close()
    if len(keys) != metadata.num_rows:
        raise ContractError(f"{name}: {len(keys)} samples, {metadata.num_rows} rows about them")
    with store.publish(release.index_path(name)) as file:
        file.write(writer.index())
    entry = ShardEntry(name, writer.samples, writer.size, writer.sha256)
    fields = [field for field in metadata.schema if field.name not in release.SIDECAR.names]
    columns: dict[str, Any] = {
        "key": pa.array(keys, pa.string()),
        "pair_id": metadata["pair_id"],
        "image_id": metadata["image_id"],
        **writer.layout(),
        **{field.name: metadata[field.name] for field in fields},
    }
    told = f"{origin} {entry.samples} {entry.bytes} {entry.sha256}".encode()
    schema = pa.schema([*release.SIDECAR, *fields]).with_metadata({_DONE: told})
    with store.publish(release.sidecar_path(name)) as file:
        table = pa.Table.from_pydict(columns, schema=schema)
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return entry


def finish(
    store: Store,
    manifest: Manifest,
    licence: str,
    licence_note: str,
    languages: Sequence[str],
    record_fields: Sequence[str],
    told: str = "",
) -> None:
    """Write sizes, card and, last, the manifest, with which the release is there.

    told: see `card`.
    """
    wanted = {entry.path for entry in manifest.shards}
    for path in store.fs.ls(store.root, detail=False):
        name = str(path).rsplit("/", 1)[-1]
        if name.endswith(".tar") and name not in wanted:  # of an attempt with other settings
            for stale in (name, *(of(name) for of in _BESIDE)):
                store.remove(stale)
    store.write_json(release.SIZES, {entry.path: entry.samples for entry in manifest.shards})
    columns = _coyo_columns(store, manifest)
    absent = [n for n in coyo.COLUMNS.names if columns is not None and n not in columns.names]
    text = card(manifest, licence, licence_note, languages, record_fields, columns, absent, told)
    with store.publish(release.CARD) as file:
        file.write(text.encode())
    store.write_json(release.MANIFEST, manifest.to_json())


def _coyo_columns(store: Store, manifest: Manifest) -> pa.Schema | None:
    """Those of the first shard, None where it has none."""
    path = release.coyo_path(manifest.shards[0].path)
    if not store.exists(path):
        return None
    with store.fs.open(store.path(path), "rb") as file:
        return pq.read_schema(file)


def _finished(store: Store, name: str, origin: str) -> ShardEntry | None:
    if not (store.exists(name) and store.exists(release.sidecar_path(name))):
        return None
    with store.fs.open(store.path(release.sidecar_path(name)), "rb") as file:
        told = (pq.read_metadata(file).metadata or {}).get(_DONE, b"").decode().split(" ")
    if len(told) != 4 or told[0] != origin:
        return None
    entry = ShardEntry(name, int(told[1]), int(told[2]), told[3])
    return entry if store.fs.size(store.path(name)) == entry.bytes else None
