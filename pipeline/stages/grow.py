"""A dataset that grows crawl by crawl: each step mills only what is new and publishes a version.

    dataset.json               this module's record of the steps that are finished
    crawls/<name>/             the run folder of a crawl
    registry/                  the pictures of all versions (`match.registry`)
    releases/0001-<name>/      versions, each a whole release; shards are shared between them
    releases/0001-<name>/.meta/diff.json

A picture of an earlier version stays, whatever a later crawl holds: URLs that were released are not
downloaded again, and what looks like a released picture gives way to it. So the kept set of several
steps is that of one run over all crawls in which pictures of earlier crawls come first.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.core import records, release
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.release import Manifest
from pipeline.core.storage import Store
from pipeline.stages.assemble import Gone, assemble, masked
from pipeline.stages.shard import RELEASE
from pipeline.stream.reader import Release

RECORD = "dataset.json"
REGISTRY = "registry"


@dataclass(frozen=True)
class Step:
    """A finished step. release: folder of its version, relative to the dataset."""

    crawl: str
    release: str
    id: str
    samples: int
    added: int
    removed: int


def steps(dataset: Store) -> list[Step]:
    """The finished steps, in order. Raises InputError for a record that is damaged."""
    if not dataset.exists(RECORD):
        return []
    try:
        return [Step(**step) for step in dataset.read_json(RECORD)["steps"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{dataset.path(RECORD)} is damaged: {error!r}") from None


def folder_of(crawl: str) -> str:
    """The run folder of a crawl, relative to the dataset. Raises ConfigError for a name that is no
    name of a folder."""
    if not crawl or crawl.startswith(".") or not all(c.isalnum() or c in "._-" for c in crawl):
        raise ConfigError(f"CRAWL = {crawl!r}: letters, digits, '.', '_' and '-' make a name")
    return f"crawls/{crawl}"


def has_release(run: Store) -> bool:
    """True when a crawl's run has published a release."""
    return run.exists(f"{RELEASE}/{release.MANIFEST}")


def is_nothing_kept(run: Store) -> bool:
    """True when a crawl's run has decided on all its pairs and keeps none."""
    record = records.load(run, "decide")
    if record is None or record["state"] != "done":
        return False
    return not any(account["kept"] for account in record["accounts"])


def publish_version(dataset: Store, crawl: str) -> Step:
    """Publish the next version: the last one without what has been taken down since, and the
    release of this crawl's run. Started again after it was killed, it goes on.

    A crawl that gave nothing new makes a version only where something was taken down; else the
    last one stands for it. Raises InputError when there is nothing to publish at all.
    """
    before = steps(dataset)
    run = Store(dataset.path(folder_of(crawl)))
    sources: list[tuple[Release, Gone]] = []
    if before:
        url = dataset.path(before[-1].release)
        sources.append((Release(url), masked(url)))
    new = run.path(RELEASE) if has_release(run) else ""
    if new:
        sources.append((Release(new), masked(new)))
    if not sources:
        raise InputError(f"{run.root}: no pair is kept, and there is no version to go on from")
    removed = int(sum(rows.sum() for rows in sources[0][1])) if before else 0
    if before and not new and not removed:
        step = Step(crawl, before[-1].release, before[-1].id, before[-1].samples, 0, 0)
        _record(dataset, [*before, step])
        return step
    folder = f"releases/{len(before) + 1:04d}-{crawl}"
    out = Store(dataset.path(folder))
    if out.exists(release.MANIFEST):
        manifest = release.load(out.fs, out.root)
    else:
        manifest = assemble(sources, out.root, new or sources[0][0].url)
    added = sum(s.samples for s in Release(new).manifest.shards) if new else 0
    step = Step(crawl, folder, manifest.id, manifest.samples, added, removed)
    out.write_json(release.DIFF, _diff(sources, manifest, step, run))
    _record(dataset, [*before, step])
    return step


def _record(dataset: Store, done: list[Step]) -> None:
    dataset.write_json(RECORD, {"steps": [asdict(step) for step in done]})


def _diff(
    sources: list[tuple[Release, Gone]], manifest: Manifest, step: Step, run: Store
) -> dict[str, Any]:
    """What is other than in the version before, and why. JSON-ready."""
    removed: list[str] = []
    old, gone = sources[0]
    if step.removed:
        for shard, rows in enumerate(gone):
            if rows.any():
                names = old.about(shard, ["key"])["key"].to_pylist()
                removed += [names[row] for row in np.flatnonzero(rows)]
    known = {entry.sha256 for source, _ in sources for entry in source.manifest.shards}
    shared = sum(entry.sha256 in known for entry in manifest.shards)
    return {
        **asdict(step),
        "from": old.manifest.id if len(sources) > 1 or step.removed else None,
        "removed_keys": removed,
        "removed_why": "taken down" if removed else "",
        "not_added": _reasons(run),
        "shards_shared": shared,
        "shards_written": len(manifest.shards) - shared,
    }


def _reasons(run: Store) -> dict[str, dict[str, int]]:
    """Why rows of the crawl did not get into the version: stage -> reason -> rows."""
    found = {}
    for stage in ("dedupe", "download", "decide"):
        record = records.load(run, stage)
        accounts = record.get("accounts", ()) if record else ()
        dropped: dict[str, int] = {}
        for account in accounts:
            for reason, rows in account["dropped"].items():
                dropped[reason] = dropped.get(reason, 0) + rows
        found[stage] = dropped
    return found
