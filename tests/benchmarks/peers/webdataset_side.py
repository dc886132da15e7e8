"""webdataset's side of `shard-write` and `shard-read`; runs in the peer's environment.

Same verbs and figures as `tests.benchmarks.shards`; imports nothing of ours.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import webdataset

PER_SHARD = 10_000


def load(path):
    """Samples as dictionaries that TarWriter takes."""
    data, at, fields = Path(path).read_bytes(), 0, []
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        fields.append(data[at + 4 : end])
        at = end
    quads = zip(*[iter(fields)] * 4, strict=True)
    return [{"__key__": k.decode(), "jpg": j, "txt": t, "json": r} for k, j, t, r in quads]


def timed_write(samples, folder):
    """TarWriter as its documentation has it, without encoding: the payloads are bytes already."""
    folder = Path(folder)
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True)
    for shard in range(-(-len(samples) // PER_SHARD)):
        with webdataset.TarWriter(str(folder / f"{shard:05d}.tar"), encoder=False) as writer:
            for sample in samples[shard * PER_SHARD : (shard + 1) * PER_SHARD]:
                writer.write(sample)
    size = sum(f.stat().st_size for f in folder.glob("*.tar"))
    return figures(len(samples), size, started, cpu)


def dataset(folder):
    """All tars of a folder, undecoded."""
    tars = sorted(str(f) for f in Path(folder).glob("*.tar"))
    return webdataset.WebDataset(tars, shardshuffle=False)


def timed_read(folder):
    """Iterate over all samples."""
    started, cpu = time.perf_counter(), time.process_time()
    items = payload = 0
    for sample in dataset(folder):
        items += 1
        payload += len(sample["jpg"]) + len(sample["txt"]) + len(sample["json"])
    return figures(items, payload, started, cpu)


def timed_shuffled(folder):
    """Iterate over all samples, of shards in chance order, through a buffer."""
    tars = sorted(str(f) for f in Path(folder).glob("*.tar"))
    rows = webdataset.WebDataset(tars, shardshuffle=100).shuffle(1000)
    started, cpu = time.perf_counter(), time.process_time()
    items = payload = 0
    for sample in rows:
        items += 1
        payload += len(sample["jpg"]) + len(sample["txt"]) + len(sample["json"])
    return figures(items, payload, started, cpu)


def digest(folder):
    """As the digest of our side."""
    whole = hashlib.sha256()
    for sample in dataset(folder):
        for suffix in ("jpg", "json", "txt"):
            data = sample[suffix]
            whole.update(f"{sample['__key__']}.{suffix} {len(data)}\n".encode() + data)
    return {"digest": whole.hexdigest()}


def figures(items, size, started, cpu):
    """What our side reports too."""
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return {
        "items": items,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "mb_per_s": round(size / 1e6 / seconds, 1),
    }


if __name__ == "__main__":
    verb, samples_file, release = sys.argv[1:]
    if verb == "write":
        given = load(samples_file)
        timed_write(given[:10], f"{release}-warm")
        print(json.dumps(timed_write(given, release)))
    else:
        print(
            json.dumps(
                {"read": timed_read, "shuffled": timed_shuffled, "digest": digest}[verb](release)
            )
        )
