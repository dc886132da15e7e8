"""Takes samples out of releases: masked at once, then gone from every file of the next version.

`mask` adds the keys to the release's tombstones, which readers look at every minute. `purge` writes
the next version beside it: shards that hold none of them are linked (copied on object storage),
the others are written again without. The old version stays as it is until its owner removes it.

`take_down` does that, and keeps the list in the registry, for all later crawls:

    optouts.txt                addresses: no later run asks for them
    taken_down/list.sha256     digests and hashes: no later run keeps such a picture (a block list
    taken_down/list.hash64     of `match`); files that nothing is in are not there
    taken_down/list.pdq
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import records, release
from pipeline.core.claim import claimed
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards import removal
from pipeline.shards.publish import owned
from pipeline.shards.removal import Removals
from pipeline.stages.assemble import assemble
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones

OPTOUTS = "optouts.txt"
BLOCKED = "taken_down"
RECEIPTS = "takedowns"
# Kind of entry -> the file that it is kept in.
_LISTS = {kind: f"{BLOCKED}/list.{kind}" for kind in ("sha256", "hash64", "pdq")}
_ROWS = 1 << 16
_TABLES_AT_ONCE = 8
_NONE: Mapping[bytes, str] = {}


@dataclass(frozen=True)
class Finding:
    """What a list names in one release. gone: bool [samples] of each shard, those under earlier
    tombstones included. rules: keys of the named ones by rule; one may be named by several."""

    url: str
    manifest: Manifest
    gone: tuple[npt.NDArray[np.bool_], ...]
    rules: dict[str, tuple[str, ...]]

    @property
    def keys(self) -> list[str]:
        """Of the named ones."""
        return sorted({key for keys in self.rules.values() for key in keys})

    @property
    def affected(self) -> list[int]:
        """Shards that hold a sample that is to go."""
        return [shard for shard, rows in enumerate(self.gone) if rows.any()]


def similar_images(folder: str, removals: Removals, only: str = "") -> dict[bytes, str]:
    """image_ids of a registry's pictures that look like one of the list, with the rule "looks";
    only: id of the one release whose pictures are wanted, else of all. Raises InputError where the
    list has hashes and there is no registry to look them up in."""
    if not (removals.named.get("hash64") or removals.named.get("pdq")):
        return {}
    if not folder:
        raise InputError(
            "the list has perceptual hashes: give REGISTRY, which knows those of released pictures"
        )
    held = registry.load(folder, "REGISTRY")
    found: set[bytes] = set()
    for entry in held.releases:
        for path in entry.files(registry.IMAGES_TABLE) if only in ("", entry.id) else ():
            with held.store.fs.open(held.store.path(path), "rb") as file:
                columns = ["image_id", "hash64", "hash256"]
                batches = pq.ParquetFile(file).iter_batches(_ROWS, columns=columns)
                found.update(removal.look_alikes(batches, removals))
    return dict.fromkeys(found, "looks")


def find(urls: Iterable[str], removals: Removals, images: Mapping[bytes, str]) -> list[Finding]:
    """What is named in some releases; images: image_id -> rule, beside the list.

    Every sample table is read once, also where releases share it. Memory: the named columns of
    some shards, and the keys of what is found.
    """
    found: list[Finding] = []
    seen: dict[str, dict[str, tuple[str, ...]]] = {}
    for url in urls:
        old, store, before = Release(url), Store(url), Tombstones(url).keys()
        shards = old.manifest.shards
        new = [entry for entry in shards if entry.sha256 not in seen]

        def named(entry: ShardEntry, store: Store = store) -> dict[str, tuple[str, ...]]:
            table = _named_columns(store, entry)
            names = table["key"].to_pylist()
            hits = removal.found_in(table, removals, images)
            return {r: tuple(names[i] for i in np.flatnonzero(rows)) for r, rows in hits.items()}

        with ThreadPoolExecutor(_TABLES_AT_ONCE) as pool:
            seen |= dict(zip((e.sha256 for e in new), pool.map(named, new), strict=True))
        rules: dict[str, list[str]] = {}
        gone = []
        for shard, entry in enumerate(shards):
            keys = before.union(*seen[entry.sha256].values())
            for rule, some in seen[entry.sha256].items():
                rules.setdefault(rule, []).extend(some)
            gone.append(_rows_of(old, shard, keys))
        by_rule = {rule: tuple(sorted(keys)) for rule, keys in rules.items()}
        found.append(Finding(url, old.manifest, tuple(gone), by_rule))
    return found


def _rows_of(held: Release, shard: int, keys: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Which samples of a shard have one of some keys."""
    if not keys:
        return np.zeros(held.manifest.shards[shard].samples, bool)
    names = held.about(shard, ["key"])["key"].to_pylist()
    return np.fromiter((name in keys for name in names), bool, len(names))


def _named_columns(store: Store, shard: ShardEntry) -> pa.Table:
    """The columns of a sample table that a list can name; a release may lack some of them."""
    with store.fs.open(store.path(release.sidecar_path(shard.path)), "rb") as file:
        parquet = pq.ParquetFile(file)
        held = set(parquet.schema_arrow.names)
        return parquet.read([c for c in removal.COLUMNS if c in held])


def mask(url: str, keys: Iterable[str]) -> None:
    """Add keys to a release's tombstones."""
    new = frozenset(keys)
    if not new:
        return
    store = Store(url)
    with store.publish(release.TOMBSTONES) as file:
        file.write("".join(f"{key}\n" for key in sorted(Tombstones(url).keys() | new)).encode())


def purge(finding: Finding, out: str) -> Manifest:
    """Write the next version to `out`: the same shards in the same order, without what is to go.

    Raises as `assemble`.
    """
    return assemble([(Release(finding.url), finding.gone)], out, finding.url)


def _remember(folder: str, removals: Removals) -> None:
    """Add the list to what the registry keeps of all of them, which every run with this registry
    keeps to. Pictures of registered releases are known to it already: their URLs are not asked for
    again, and what looks like them gives way."""
    store = Store(folder)
    _add(store, OPTOUTS, removals.address_lines)
    for kind, name in _LISTS.items():
        _add(store, name, sorted(value.hex() for value in removals.named.get(kind, ())))


def _add(store: Store, name: str, lines: Iterable[str]) -> None:
    """Add lines to a file, each once."""
    held = _lines(store, name)
    wanted = list(dict.fromkeys([*held, *lines]))
    if wanted != held:
        with store.publish(name) as file:
            file.write("".join(f"{line}\n" for line in wanted).encode())


def _lines(store: Store, name: str) -> list[str]:
    if not store.exists(name):
        return []
    lines: list[str] = store.fs.cat_file(store.path(name)).decode().splitlines()
    return lines


def remembered(folder: str) -> Removals:
    """All that a registry remembers; empty where there is none."""
    store = Store(folder)
    lines = _lines(store, OPTOUTS)
    for kind, name in _LISTS.items():
        lines += [f"{kind}:{digits}" for digits in _lines(store, name)]
    return removal.parsed(store.path(OPTOUTS), lines)


def copy_remembered(folder: str, run: Store) -> None:
    """Copy what a registry remembers into a run, unless that has been done: so that the run keeps
    to the same lists from its first stage to its last."""
    if run.exists(f"{BLOCKED}/_COPIED"):
        return
    store = Store(folder)
    for name in (OPTOUTS, *_LISTS.values()):
        if store.exists(name):
            with run.publish(name) as file:
                file.write(store.fs.cat_file(store.path(name)))
    with run.publish(f"{BLOCKED}/_COPIED"):
        pass


def lists_of(folder: str, run: Store) -> tuple[str, str]:
    """Where the lists are that a run with this registry keeps to: of addresses, and the folder of
    those of digests and hashes; "" for none. Those that were copied into the run come first."""
    store = run if run.exists(f"{BLOCKED}/_COPIED") else Store(folder)
    has_blocked = any(store.exists(name) for name in _LISTS.values())
    return (
        store.path(OPTOUTS) if store.exists(OPTOUTS) else "",
        store.path(BLOCKED) if has_blocked else "",
    )


class Done(NamedTuple):
    """What was done to one release. new: the next version, if one was written. receipt: where it
    lies."""

    finding: Finding
    new: Manifest | None
    receipt: str


def take_down(
    urls: Sequence[str],
    folder: str,
    cause: str,
    removals: Removals,
    images: Mapping[bytes, str] = _NONE,
    *,
    out: str = "",
    list_sha256: str = "",
) -> list[Done]:
    """Mask in some releases what a list names, remember it in a registry, and write receipts.

    urls: of the releases. folder: the registry's, "" for none. cause: of all this, for people.
    images: image_id -> rule, of pictures that are named beside the list. out: where the next
    version of the one release is written, "" for none; earlier tombstones are purged with it.
    Raises InputError for perceptual hashes without a registry, EnvironmentProblem while another
    process takes down with the same registry, and as `assemble`.
    """
    named = {**similar_images(folder, removals), **images}
    findings = find(urls, removals, named)
    # Two at once would each lose what the other adds.
    with claimed(Store(Store(folder).path(BLOCKED))) if folder else nullcontext():
        for finding in findings:
            mask(finding.url, finding.keys)
        if folder:
            _remember(folder, removals)
    done = []
    for finding in findings:
        new = None
        if out and finding.affected:
            with owned(out):
                new = purge(finding, out)
        told = _receipt(finding, cause, len(removals) + len(images), list_sha256, new)
        done.append(Done(finding, new, _write_receipt(told, folder)))
    return done


def addresses(urls: Iterable[str]) -> Removals:
    """The removal list of some URLs."""
    return removal.parsed("URLs", list(urls))


def _receipt(
    finding: Finding, cause: str, entries: int, list_sha256: str, new: Manifest | None
) -> dict[str, Any]:
    """What was done to one release, JSON-ready: keys, but nothing of what they stand for."""
    return {
        "release": finding.url,
        "name": finding.manifest.name,
        "id": finding.manifest.id,
        "cause": cause,
        "list_sha256": list_sha256,
        "entries": entries,
        "samples": len(finding.keys),
        "by_rule": {rule: len(keys) for rule, keys in finding.rules.items()},
        "keys": finding.keys,
        "keys_by_rule": {rule: list(keys) for rule, keys in finding.rules.items()},
        "shards_affected": [finding.manifest.shards[s].path for s in finding.affected],
        "next_id": new.id if new else None,
        "masked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _write_receipt(told: Mapping[str, Any], folder: str) -> str:
    """Write a receipt into a registry, or beside the release where there is none; where it is."""
    where = Store(folder or told["release"])
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = records.digest([told["cause"], told["list_sha256"], told["keys"]])
    name = f"{now}-{told['id'][:8]}-{names[:8]}.json"
    held = RECEIPTS if folder else release.TAKEDOWNS
    where.write_json(f"{held}/{name}", told)
    return where.path(held, name)


def causes(folders: Iterable[tuple[Store, str]]) -> dict[str, str]:
    """key -> why it was taken down, of all receipts in some folders, the latest first."""
    found: dict[str, str] = {}
    for store, folder in folders:
        if not store.exists(folder):
            continue
        for path in sorted(store.fs.ls(store.path(folder), detail=False), reverse=True):
            told = store.read_json(f"{folder}/{str(path).rsplit('/', 1)[-1]}")
            for rule, keys in told.get("keys_by_rule", {}).items():
                for key in keys:
                    found.setdefault(key, f"{told.get('cause', 'taken down')}: {rule}")
    return found
