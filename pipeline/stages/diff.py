"""What a version of a dataset has that the one before has not, what it lacks, and why.

In `.meta/` of the version: diff.json in numbers, diff.md for people, diff/changes.parquet by
sample. It is told from what the two versions hold, whenever it is asked.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import records, release
from pipeline.core.storage import Store
from pipeline.core.tables import column
from pipeline.stages.assemble import Gone
from pipeline.stream.reader import Release

TAKEN_DOWN = "taken down"
SCHEMA = pa.schema(
    [
        column("key", pa.string(), "of the sample"),
        column("change", pa.string(), "'added' or 'removed'"),
        column("why", pa.string(), "the crawl that it comes with, or what took it down"),
        column("shard", pa.string(), "tar that it is in, in this version or in the one before"),
    ]
)


@dataclass(frozen=True)
class Changes:
    """removed: key -> (shard of the version before, why). arrived: shards of this version that the
    one before has not, with those of their keys that it has not either."""

    version: Release
    gone: Mapping[str, tuple[str, str]]
    arrived: Mapping[int, Sequence[str]]
    shared: int

    @property
    def added(self) -> int:
        return sum(map(len, self.arrived.values()))

    @property
    def removed(self) -> int:
        return len(self.gone)

    def tables(self, crawl: str) -> Iterator[pa.Table]:
        """Rows of SCHEMA, shard by shard; crawl: the step's."""
        yield _table(list(self.gone), "removed", *zip(*self.gone.values(), strict=True))
        for shard, keys in self.arrived.items():
            tar = self.version.manifest.shards[shard].path
            yield _table(list(keys), "added", [tar] * len(keys), [f"crawl {crawl}"] * len(keys))


def _table(
    keys: Sequence[str], change: str, shards: Sequence[str] = (), whys: Sequence[str] = ()
) -> pa.Table:
    return pa.table([keys, [change] * len(keys), list(whys), list(shards)], schema=SCHEMA)


def changes(
    old: Sequence[tuple[Release, Gone]],
    new: Sequence[tuple[Release, Gone]],
    version: Release,
    causes: Mapping[str, str],
) -> Changes:
    """What differs between a version and the one before.

    old: the version before, or nothing. new: the release of the step's run, or nothing. causes:
    key -> why it was taken down. Only shards that are in one of the two alone are read; memory:
    the keys in them.
    """
    before = {e.sha256 for source, _ in old for e in source.manifest.shards}
    own = {e.sha256 for e in version.manifest.shards}
    written = {
        shard: version.about(shard, ["key"])["key"].to_pylist()
        for shard, entry in enumerate(version.manifest.shards)
        if entry.sha256 not in before
    }
    left = {
        key: entry.path
        for source, _ in old
        for shard, entry in enumerate(source.manifest.shards)
        if entry.sha256 not in own
        for key in source.about(shard, ["key"])["key"].to_pylist()
    }
    there = {key for keys in written.values() for key in keys}
    gone = {
        key: (path, causes.get(key, TAKEN_DOWN)) for key, path in left.items() if key not in there
    }
    arrived = {shard: [k for k in keys if k not in left] for shard, keys in written.items()}
    known = before | {e.sha256 for source, _ in new for e in source.manifest.shards}
    shared = sum(entry.sha256 in known for entry in version.manifest.shards)
    return Changes(version, gone, {s: keys for s, keys in arrived.items() if keys}, shared)


def write(
    out: Store,
    found: Changes,
    step: Mapping[str, Any],
    old: Sequence[tuple[Release, Gone]],
    run: Store,
) -> None:
    """Write all three into a version. step: JSON-ready, what is recorded of the step."""
    shards = len(found.version.manifest.shards)
    told = {
        **step,
        "from": old[0][0].manifest.id if old else None,
        "removed_keys": sorted(found.gone),
        "removed_why": dict(sorted(Counter(why for _, why in found.gone.values()).items())),
        "not_added": _reasons(run),
        "taken_over": _taken_over(run),
        "shards_shared": found.shared,
        "shards_written": shards - found.shared,
    }
    with out.publish(release.DIFF_TABLE) as file, pq.ParquetWriter(file, SCHEMA) as writer:
        for table in found.tables(str(step["crawl"])):
            writer.write_table(table)
    with out.publish(release.DIFF_TEXT) as file:
        file.write(_text(told).encode())
    out.write_json(release.DIFF, told)


def _reasons(run: Store) -> dict[str, dict[str, int]]:
    """Why rows of the crawl did not get into the version: stage -> reason -> rows."""
    found = {}
    for stage in ("dedupe", "download", "decide"):
        dropped: Counter[str] = Counter()
        for account in _accounts(run, stage):
            if account["unit"] in ("images", "pairs"):
                dropped.update(account["dropped"])
        found[stage] = dict(sorted(dropped.items()))
    return found


def _taken_over(run: Store) -> int:
    """Pictures that earlier crawls had asked for."""
    found = [a["in"] for a in _accounts(run, "download") if a["unit"] == "taken_over"]
    return sum(found)


def _accounts(run: Store, stage: str) -> list[dict[str, Any]]:
    record = records.load(run, stage)
    return list(record.get("accounts", ())) if record else []


def _text(told: Mapping[str, Any]) -> str:
    lines = [
        f"# {told['release'].rpartition('/')[2]}",
        "",
        f"{told['samples']:,} samples: {told['added']:,} added by {told['crawl']}, "
        f"{told['removed']:,} removed since the version before. Of "
        f"{told['shards_shared'] + told['shards_written']:,} tars {told['shards_written']:,} were "
        "written, the others are those of the version before or of the crawl.",
        "",
    ]
    if told["removed"]:
        lines += ["| removed | because of |", "| ---: | --- |"]
        lines += [f"| {n:,} | {_escaped(why)} |" for why, n in told["removed_why"].items()]
        lines.append("")
    if told["taken_over"]:
        lines += [
            f"{told['taken_over']:,} pictures of the crawl were not asked for: earlier crawls had "
            "done so.",
            "",
        ]
    dropped = [
        (n, stage, why) for stage, all_ in told["not_added"].items() for why, n in all_.items()
    ]
    if dropped:
        lines += ["| not added | stage | reason |", "| ---: | --- | --- |"]
        lines += [
            f"| {n:,} | {stage} | {_escaped(why)} |" for n, stage, why in sorted(dropped)[::-1]
        ]
        lines.append("")
    lines.append("Each sample that was added or removed is a row of `diff/changes.parquet`.")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1].replace("|", "\\|")
