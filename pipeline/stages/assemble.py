"""A release out of the shards of others: those that stay whole are shared, others written again.

Shared shards are hard links where both lie on one local file system. On one object store they are
copies that the store makes itself, so that none of their bytes comes here; else they are copied.
"""

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import pipeline
from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.shards import publish
from pipeline.shards.card import stated_facts, stated_provenance
from pipeline.stream.reader import Release
from pipeline.stream.samples import Members
from pipeline.stream.tombstones import Tombstones

# bool [samples] of each shard: what is left out of it.
Gone = Sequence[npt.NDArray[np.bool_]]
_SHARDS_AT_ONCE = 8


def masked(url: str) -> Gone:
    """The samples of a release that are under its tombstones."""
    held = Release(url)
    keys = Tombstones(url).keys()
    found = []
    for shard, entry in enumerate(held.manifest.shards):
        if keys:
            names = held.about(shard, ["key"])["key"].to_pylist()
            found.append(np.fromiter((name in keys for name in names), bool, len(names)))
        else:
            found.append(np.zeros(entry.samples, bool))
    return found


def assemble(sources: Sequence[tuple[Release, Gone]], out: str, like: str) -> Manifest:
    """Write a release to `out` of all shards of the sources, in order, without what is gone.

    like: the release whose name, licence and languages it has. Started again after it was killed,
    it goes on. Memory: the sample tables of some shards, and a few MiB. Raises InputError when no
    sample would be left, `out` holds something or the sources have other columns than each other,
    and CorruptSample for a damaged source.
    """
    left = [
        (source, shard, rows)
        for source, gone in sources
        for shard, rows in enumerate(gone)
        if not rows.all()
    ]
    if not left:
        raise InputError(f"{out}: no sample would be left")
    store = Store(out)
    publish.start(store)
    # COYO's columns are there for all shards or for none.
    with_coyo = all(_has_coyo(source, shard) for source, shard, _ in left)
    _refuse_other_columns([source for source, _ in sources], out, with_coyo=with_coyo)

    def entry(number: int) -> ShardEntry:
        source, shard, rows = left[number]
        name = f"{release.shard_name(number, len(left))}.tar"
        if not rows.any():
            return _shared(store, source, shard, name, with_coyo=with_coyo)
        if with_coyo:
            _coyo_without(store, source, shard, rows, name)
        return _without(store, source, shard, rows, name)

    # Nearly all of the work is to wait for the storage.
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        entries = list(pool.map(entry, range(len(left))))
    old = Release(like).manifest
    ids = ",".join(source.manifest.id for source, _ in sources)
    stages = old.stages | {"made_of": ids}
    if len(sources) > 1:
        stages[release.GROWN_FROM] = ids
    manifest = Manifest(old.name, pipeline.__version__, stages, tuple(entries))
    source, shard, rows = left[0]
    finish(
        store, manifest, like, source.read_rows(shard, np.flatnonzero(~rows)[:1].astype(np.int32))
    )
    return manifest


def finish(store: Store, manifest: Manifest, like: str, first: Iterator[Members]) -> None:
    """Write what a release has beside its shards. like: the release whose licence and languages it
    has. first: begins with its first sample, whose record names the fields of all."""
    old = Store(like)
    card = ""
    if old.exists(release.CARD):
        card = old.fs.cat_file(old.path(release.CARD)).decode("utf-8", "replace")
    fields = sorted(json.loads(next(first).json))
    publish.finish(store, manifest, *stated_facts(card), fields, stated_provenance(card))


def described(source: Release, shard: int, rows: npt.NDArray[np.int32]) -> pa.Table:
    """What the sample table of a shard says of some rows, but for where they lie in the tar."""
    table = source.about(shard).take(pa.array(rows)).replace_schema_metadata(None)
    laid = [n for n in release.SIDECAR.names if n not in ("pair_id", "image_id")]
    return table.drop_columns(laid)


def _without(
    store: Store, source: Release, shard: int, gone: npt.NDArray[np.bool_], name: str
) -> ShardEntry:
    """Write a shard again without some of its samples."""
    kept = np.flatnonzero(~gone).astype(np.int32)
    digest = hashlib.sha256(np.packbits(gone).tobytes()).hexdigest()[:16]
    origin = f"{source.manifest.id[:16]}:{shard}:{digest}"
    samples = source.read_rows(shard, kept)
    return publish.write_shard(store, name, origin, samples, described(source, shard, kept))


def _has_coyo(source: Release, shard: int) -> bool:
    return Store(source.url).exists(release.coyo_path(source.manifest.shards[shard].path))


def _coyo_without(
    store: Store, source: Release, shard: int, gone: npt.NDArray[np.bool_], name: str
) -> None:
    """Write COYO's columns of a shard again without some of its samples."""
    held = Store(source.url)
    path = held.path(release.coyo_path(source.manifest.shards[shard].path))
    with held.fs.open(path, "rb") as file:
        table = pq.read_table(file).filter(pa.array(~gone))
    with store.publish(release.coyo_path(name)) as written:
        pq.write_table(table, written, compression="zstd", write_page_checksum=True)


def columns_of(held: Release, of: Callable[[str], str]) -> dict[str, str]:
    """Name -> type of the columns that a release's first file of a kind has."""
    store = Store(held.url)
    with store.fs.open(store.path(of(held.manifest.shards[0].path)), "rb") as file:
        return {field.name: str(field.type) for field in pq.read_schema(file)}


def _refuse_other_columns(sources: Sequence[Release], out: str, *, with_coyo: bool) -> None:
    """Raise InputError unless all sources have the same columns: those who read a release, its card
    and its views take the columns of one shard for those of all."""
    for of in (release.sidecar_path, *([release.coyo_path] if with_coyo else [])):
        first, *others = (columns_of(source, of) for source in sources)
        for source, other in zip(sources[1:], others, strict=True):
            differing = sorted(
                n for n in first.keys() | other.keys() if first.get(n) != other.get(n)
            )
            if differing:
                raise InputError(
                    f"{out}: {source.url} and {sources[0].url} differ in the columns "
                    f"{', '.join(differing[:8])}; all tars of a release have the same"
                )


def _shared(new: Store, source: Release, shard: int, name: str, *, with_coyo: bool) -> ShardEntry:
    """Have a shard's files in the new release, without a byte written where links can be."""
    old, entry = Store(source.url), source.manifest.shards[shard]
    beside = [release.index_path, release.sidecar_path, *([release.coyo_path] if with_coyo else [])]
    pairs = [(entry.path, name), *((of(entry.path), of(name)) for of in beside)]
    for held, target in pairs:
        new.fs.makedirs(posixpath.dirname(new.path(target)), exist_ok=True)
        if new.exists(target):
            new.fs.rm(new.path(target))
        _share(old, held, new, target)
    return ShardEntry(name, entry.samples, entry.bytes, entry.sha256)


def _share(old: Store, held: str, new: Store, target: str) -> None:
    """Have a file in another folder too, where it is not."""
    if old.is_local and new.is_local:
        try:
            os.link(old.path(held), new.path(target))
            return
        except OSError:  # another file system: copied
            pass
    elif old.fs is new.fs and not new.is_local:
        # Of file systems that are no object store the copy may be seen half written; a release is
        # there once its manifest is, and what was cut is copied again.
        new.fs.cp_file(old.path(held), new.path(target))
        return
    with old.fs.open(old.path(held), "rb") as read, new.publish(target) as written:
        while block := read.read(1 << 22):
            written.write(block)
