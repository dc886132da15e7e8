"""Takes samples out of releases: masked at once, then gone from every file of the next version.

`mask` adds the keys to the release's tombstones, which readers look at every minute. `purge` writes
the next version beside it: shards that hold none of them are linked (copied on object storage),
the others are written again without. The old version stays as it is until its owner removes it.
"""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards import removal
from pipeline.shards.removal import Removals
from pipeline.stages.assemble import assemble
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

    Raises as `assemble`.
    """
    return assemble([(Release(finding.url), finding.gone)], out, finding.url)


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
