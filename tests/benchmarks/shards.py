"""`shard-write` and `shard-read`: samples of about 15 KB (jpg, txt, json) to and from tars.

Runs in-process for the benchmarks, and as a command for the comparison with peers:

    python -m tests.benchmarks.shards make|write|read|digest <samples file> <release> [samples]
"""

import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.stream.reader import Release
from tests.shards.plain_release import Sample, write

SAMPLES = 20_000
PER_SHARD = 10_000
_JPEG_BYTES = (8_000, 21_000)


def make_samples(count: int = SAMPLES, seed: int = 7) -> list[Sample]:
    """The same samples on every machine; picture bytes are noise, which no step looks into."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        key = hashlib.blake2b(i.to_bytes(8, "little"), digest_size=16).hexdigest()
        caption = f"sample {i}: a picture of something, from somewhere, {rng.random()}"
        record = {
            "caption": caption,
            "key": key,
            "url": f"https://host-{i % 997}.example/images/{key}.jpg",
            "sha256": rng.randbytes(32).hex(),
            "width": 384,
            "height": 256,
        }
        jpg = b"\xff\xd8\xff" + rng.randbytes(rng.randrange(*_JPEG_BYTES))
        found.append((key, jpg, caption.encode(), json.dumps(record).encode()))
    return found


def run_write() -> dict[str, Any]:
    """Write samples held in memory: tars, index, checksums and hashes. Item: a sample."""
    samples = make_samples()
    with tempfile.TemporaryDirectory() as folder:
        timed_write(samples[:10], Path(folder) / "warm")
        return {"workload": "shard-write", **timed_write(samples, Path(folder) / "release")}


def run_read() -> dict[str, Any]:
    """Read them back undecoded, each checksum verified, from a warm page cache."""
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "release"
        # Made by another process, so that the memory reported is that of reading.
        command = [sys.executable, "-m", "tests.benchmarks.shards", "make", "-", str(release)]
        subprocess.run(command, check=True)
        timed_read(release, 1)
        figures = timed_read(release, 5)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"workload": "shard-read", **figures, "peak_rss_mb": peak}


def timed_write(samples: list[Sample], folder: Path) -> dict[str, Any]:
    """Figures of writing a release."""
    started, cpu = time.perf_counter(), time.process_time()
    manifest = write(folder, samples, PER_SHARD)
    return _figures(len(samples), manifest.bytes, started, cpu)


def timed_read(folder: Path, times: int) -> dict[str, Any]:
    """Figures of reading a whole release some times over."""
    started, cpu = time.perf_counter(), time.process_time()
    items = payload = 0
    for _ in range(times):
        for sample in Release(str(folder)):
            items += 1
            payload += len(sample.jpg) + len(sample.txt) + len(sample.json)
    return _figures(items, payload, started, cpu)


def digest(folder: Path) -> str:
    """One hash of all members' names and bytes, in order of the names."""
    whole = hashlib.sha256()
    for sample in Release(str(folder)):
        for suffix in ("jpg", "json", "txt"):
            data = getattr(sample, suffix)
            whole.update(f"{sample.key}.{suffix} {len(data)}\n".encode() + data)
    return whole.hexdigest()


def _figures(items: int, size: int, started: float, cpu: float) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu
    return {
        "items": items,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "mb_per_s": round(size / 1e6 / seconds, 1),
    }


def save(samples: list[Sample], path: Path) -> None:
    """Samples as a stream of length-prefixed fields, which any Python reads without packages."""
    with open(path, "wb") as file:
        for key, *payloads in samples:
            for field in (key.encode(), *payloads):
                file.write(len(field).to_bytes(4, "little") + field)


def load(path: Path) -> list[Sample]:
    """Undo `save`."""
    data, at, fields = path.read_bytes(), 0, []
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        fields.append(data[at + 4 : end])
        at = end
    quads = zip(*[iter(fields)] * 4, strict=True)
    return [(key.decode(), jpg, txt, record) for key, jpg, txt, record in quads]


def main(verb: str, samples: str, folder: str, count: str = str(SAMPLES)) -> None:
    """Run one side of a comparison and print its figures as JSON."""
    if verb == "write":
        given = load(Path(samples))
        timed_write(given[:10], Path(f"{folder}-warm"))  # imports done on first use
        print(json.dumps(timed_write(given, Path(folder))))
    elif verb == "read":
        print(json.dumps(timed_read(Path(folder), 1)))
    elif verb == "make":
        write(Path(folder), make_samples(int(count)), PER_SHARD)
    else:
        print(json.dumps({"digest": digest(Path(folder))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
