"""Writes a release from samples in memory, without Spark: for tests of readers and benchmarks."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.release import Manifest, ShardEntry
from pipeline.shards.writer import ShardWriter

Sample = tuple[str, bytes, bytes, bytes]  # key (hex), jpg, txt, json


def write(
    folder: Path, samples: Sequence[Sample], per_shard: int, with_coyo: bool = False
) -> Manifest:
    """A whole release in `folder`, which must not exist. with_coyo: a table of keys for COYO's."""
    (folder / release.COYO).mkdir(parents=True)
    shards = -(-len(samples) // per_shard)
    entries = []
    for shard in range(shards):
        name = f"{release.shard_name(shard, shards)}.tar"
        chosen = samples[shard * per_shard : (shard + 1) * per_shard]
        with open(folder / name, "wb") as file:
            writer = ShardWriter(file)
            for sample in chosen:
                writer.add(*sample)
            writer.close()
        (folder / release.index_path(name)).write_bytes(writer.index())
        ids = [bytes.fromhex(key) for key, *_ in chosen]
        columns = {"key": [s[0] for s in chosen], "pair_id": ids, "image_id": ids}
        table = pa.Table.from_pydict(columns | writer.layout(), schema=release.SIDECAR)
        pq.write_table(table, folder / release.sidecar_path(name), write_page_checksum=True)
        if with_coyo:
            table = table.select(["key"])
            pq.write_table(table, folder / release.coyo_path(name), write_page_checksum=True)
        entries.append(ShardEntry(name, writer.samples, writer.size, writer.sha256))
    manifest = Manifest("plain", "0", {}, tuple(entries))
    (folder / release.MANIFEST).write_text(json.dumps(manifest.to_json()))
    (folder / release.SIZES).write_text(json.dumps({e.path: e.samples for e in entries}))
    (folder / release.CARD).write_text("# plain\n")
    return manifest
