"""MosaicML Streaming's side of `stream-read-mosaic` and `stream-resume-mosaic`; runs in its
environment and imports nothing of ours.

    mosaic_side.py write|read|resume <samples file> <folder>
"""

import json
import os
import sys
import sysconfig
import time
import types
from pathlib import Path

# The package's own start loads text and vision models' libraries; its core wants two of their types.
_package = sys.modules["streaming"] = types.ModuleType("streaming")
_package.__path__ = [str(Path(sysconfig.get_path("purelib"), "streaming"))]
for _name in ("feature_extraction_utils", "tokenization_utils_base"):
    _module = sys.modules[f"transformers.{_name}"] = types.ModuleType(_name)
    _module.BatchFeature = _module.BatchEncoding = dict
sys.modules["transformers"] = types.ModuleType("transformers")

from streaming.base import MDSWriter, StreamingDataset  # noqa: E402

COLUMNS = {"key": "str", "jpg": "bytes", "txt": "bytes", "json": "bytes"}
BATCH = 256
PER_SHARD = 10_000


def load(path):
    """Samples as dictionaries."""
    data, at, fields = Path(path).read_bytes(), 0, []
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        fields.append(data[at + 4 : end])
        at = end
    quads = zip(*[iter(fields)] * 4, strict=True)
    return [{"key": k.decode(), "jpg": j, "txt": t, "json": r} for k, j, t, r in quads]


def write(samples, folder):
    """Shards of as many bytes as 10,000 samples have."""
    rows = load(samples)
    size = sum(len(v) for row in rows[:PER_SHARD] for v in row.values())
    with MDSWriter(out=folder, columns=COLUMNS, size_limit=size, hashes=[]) as out:
        for row in rows:
            out.write(row)
    return {"items": len(rows)}


def read(folder):
    """Every sample once, shuffled, in one process."""
    dataset = StreamingDataset(local=folder, shuffle=True, batch_size=BATCH)
    for _ in zip(range(10), dataset, strict=False):  # files opened, shared memory made
        pass
    started, cpu = time.perf_counter(), time.process_time()
    items = payload = 0
    for sample in dataset:
        items += 1
        payload += len(sample["jpg"]) + len(sample["txt"]) + len(sample["json"])
    return figures(items, started, cpu) | {"bytes": payload}


def many(one, folder, shards):
    """A data set whose shards are all the first shard of another."""
    os.makedirs(folder)
    first = json.loads(Path(one, "index.json").read_text())["shards"][0]
    told = []
    for number in range(shards):
        name = f"shard.{number:05d}.mds"
        os.symlink(Path(one, first["raw_data"]["basename"]).resolve(), Path(folder, name))
        told.append(first | {"raw_data": first["raw_data"] | {"basename": name}})
    Path(folder, "index.json").write_text(json.dumps({"version": 2, "shards": told}))
    return {"items": shards * first["samples"]}


def resume(folder):
    """From opening it to the first batch at 90% of an epoch."""
    started, cpu = time.perf_counter(), time.process_time()
    dataset = StreamingDataset(local=folder, shuffle=True, batch_size=BATCH)
    place = {
        "epoch": 0,
        "sample_in_epoch": int(dataset.size * 0.9) // BATCH * BATCH,
        "num_canonical_nodes": 1,
        "shuffle_seed": dataset.shuffle_seed,
        "initial_physical_nodes": 1,
    }
    dataset.load_state_dict(place)
    rows = iter(dataset)
    batch = [next(rows) for _ in range(BATCH)]
    assert all(row["jpg"] for row in batch)
    print(json.dumps(figures(1, started, cpu)), flush=True)
    os._exit(0)  # its threads read on


def figures(items, started, cpu):
    return {
        "items": items,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


if __name__ == "__main__":
    verb, given, folder = sys.argv[1:4]
    if verb == "write":
        print(json.dumps(write(given, folder)))
    elif verb == "many":
        print(json.dumps(many(given, folder, int(sys.argv[4]))))
    else:
        print(json.dumps({"read": read, "resume": resume}[verb](folder)))
