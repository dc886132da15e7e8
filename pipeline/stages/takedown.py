"""Takes samples out of releases: masked at once, then gone from every file of the next version.

`mask` adds the keys to the release's tombstones, which readers look at every minute. `purge` writes
the next version beside it: shards that hold none of them are linked (copied on object storage),
the others are written again without. The old version stays as it is until its owner removes it.
"""

import hashlib
import json
import os
import posixpath
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pipeline
from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards import publish, removal
from pipeline.shards.card import stated_facts
from pipeline.shards.removal import Removals
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones

OPTOUTS = "optouts.txt"
RECEIPTS = "takedowns"
_ROWS = 1 << 16


@dataclass(frozen=True)
class Finding:
    """What a list names in one release. gone: bool [samples] of each shard, those under earlier
    tombstones included. keys: of the named ones. rules: samples by rule; one may be named by
    several."""

    url: str
    manifest: Manifest
    gone: tuple[np.ndarray, ...]
    keys: tuple[str, ...]
    rules: dict[str, int]

    @property
    def affected(self) -> list[int]:
        """Shards that hold a sample that is to go."""
        return [shard for shard, rows in enumerate(self.gone) if rows.any()]


def similar_images(folder: str, removals: Removals) -> frozenset[bytes]:
    """image_ids of a registry's pictures that look like one of the list. Raises InputError where
    the list has hashes and there is no registry to look them up in."""
    if not (removals.named.get("hash64") or removals.named.get("pdq")):
        return frozenset()
    if not folder:
        raise InputError(
            "the list has perceptual hashes: give REGISTRY, which knows those of released pictures"
        )
    held = registry.load(folder, "REGISTRY")
    found: set[bytes] = set()
    for entry in held.releases:
        for path in entry.files(registry.IMAGES_TABLE):
            with held.store.fs.open(held.store.path(path), "rb") as file:
                columns = ["image_id", "hash64", "hash256"]
                batches = pq.ParquetFile(file).iter_batches(_ROWS, columns=columns)
                found.update(removal.look_alikes(batches, removals))
    return frozenset(found)


def find(url: str, removals: Removals, image_ids: frozenset[bytes]) -> Finding:
    """Read every sample table of a release. Memory: the named columns of one shard."""
    old = Release(url)
    before = Tombstones(url).keys()
    gone, keys, rules = [], [], Counter[str]()
    for shard in range(len(old.manifest.shards)):
        table = _named_columns(Store(url), old.manifest.shards[shard])
        hits = removal.found_in(table, removals, image_ids)
        rules.update({rule: int(rows.sum()) for rule, rows in hits.items()})
        own = np.logical_or.reduce(list(hits.values())) if hits else np.zeros(len(table), bool)
        names = table["key"].to_pylist()
        keys += [names[row] for row in np.flatnonzero(own)]
        masked = np.fromiter((name in before for name in names), bool, len(names))
        gone.append(own | masked)
    return Finding(url, old.manifest, tuple(gone), tuple(keys), dict(rules))


def _named_columns(store: Store, shard: ShardEntry) -> pa.Table:
    """The columns of a sample table that a list can name; a release may lack some of them."""
    with store.fs.open(store.path(release.sidecar_path(shard.path)), "rb") as file:
        parquet = pq.ParquetFile(file)
        held = set(parquet.schema_arrow.names)
        return parquet.read([c for c in removal.COLUMNS if c in held])


def mask(finding: Finding) -> None:
    """Add what was found to the release's tombstones."""
    if not finding.keys:
        return
    store = Store(finding.url)
    held = Tombstones(finding.url).keys() | set(finding.keys)
    with store.publish(release.TOMBSTONES) as file:
        file.write("".join(f"{key}\n" for key in sorted(held)).encode())


def purge(finding: Finding, out: str) -> Manifest:
    """Write the next version to `out`: the same shards in the same order, without what is to go.

    Started again after it was killed, it goes on. Raises InputError when nothing would be left, and
    as `publish.start`.
    """
    old = Release(finding.url)
    store = Store(out)
    left = [s for s, rows in enumerate(finding.gone) if not rows.all()]
    if not left:
        raise InputError(f"{finding.url}: no sample would be left")
    publish.start(store)
    entries = []
    for number, shard in enumerate(left):
        name = f"{release.shard_name(number, len(left))}.tar"
        entry = old.manifest.shards[shard]
        rows = finding.gone[shard]
        if rows.any():
            kept = np.flatnonzero(~rows).astype(np.int32)
            table = old.about(shard).take(pa.array(kept)).replace_schema_metadata(None)
            laid = [n for n in release.SIDECAR.names if n not in ("pair_id", "image_id")]
            origin = f"{old.manifest.id[:16]}:{shard}:{_digest(rows)}"
            samples = old.read_rows(shard, kept)
            made = publish.write_shard(store, name, origin, samples, table.drop_columns(laid))
            entries.append(made)
        else:
            entries.append(_shared(Store(finding.url), store, entry, name))
    stages = old.manifest.stages | {"takedown_of": old.manifest.id}
    manifest = Manifest(old.manifest.name, pipeline.__version__, stages, tuple(entries))
    card = Store(finding.url).fs.cat_file(Store(finding.url).path(release.CARD)).decode()
    first = int(np.flatnonzero(~finding.gone[left[0]])[0])
    sample = next(old.read_shard(left[0], first, first + 1))
    fields = sorted(json.loads(sample.json))
    publish.finish(store, manifest, *stated_facts(card), fields)
    return manifest


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()[:16]


def _shared(old: Store, new: Store, entry: ShardEntry, name: str) -> ShardEntry:
    """Have a shard's three files in the new release, without a byte written where links can be."""
    pairs = (
        (entry.path, name),
        (release.index_path(entry.path), release.index_path(name)),
        (release.sidecar_path(entry.path), release.sidecar_path(name)),
    )
    for source, target in pairs:
        new.fs.makedirs(posixpath.dirname(new.path(target)), exist_ok=True)
        if new.exists(target):
            new.fs.rm(new.path(target))
        if old.is_local and new.is_local:
            try:
                os.link(old.path(source), new.path(target))
                continue
            except OSError:  # another file system: copied
                pass
        with old.fs.open(old.path(source), "rb") as read, new.publish(target) as written:
            while block := read.read(1 << 22):
                written.write(block)
    return ShardEntry(name, entry.samples, entry.bytes, entry.sha256)


def remember(folder: str, removals: Removals) -> str:
    """Add the list's addresses to the registry's own opt-out list, which every run with this
    registry keeps to; where it lies. Pictures of registered releases are known to it already: their
    URLs are not asked for again, and what looks like them gives way."""
    store = Store(folder)
    held: list[str] = []
    if store.exists(OPTOUTS):
        held = store.fs.cat_file(store.path(OPTOUTS)).decode().splitlines()
    with store.publish(OPTOUTS) as file:
        file.write(
            "".join(f"{e}\n" for e in dict.fromkeys([*held, *removals.address_lines])).encode()
        )
    return store.path(OPTOUTS)


def receipt(
    finding: Finding, entries: int, list_sha256: str, new: Manifest | None
) -> dict[str, Any]:
    """What was done to one release, JSON-ready: keys, but nothing of what they stand for."""
    return {
        "release": finding.url,
        "name": finding.manifest.name,
        "id": finding.manifest.id,
        "list_sha256": list_sha256,
        "entries": entries,
        "samples": len(finding.keys),
        "by_rule": finding.rules,
        "keys": list(finding.keys),
        "shards_affected": [finding.manifest.shards[s].path for s in finding.affected],
        "next_id": new.id if new else None,
        "masked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
