"""`stream-read`, `stream-resume`, `stream-simulate`: shuffled reading, finding a place among a
billion samples, and a run of a thousand ranks that come and go."""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import release
from pipeline.core.release import Manifest, ShardEntry
from pipeline.stream import chunks, views
from pipeline.stream.loader import Stream
from pipeline.stream.plan import Plan, Schedule
from pipeline.stream.roster import assign
from pipeline.stream.views import View
from tests.benchmarks.shards import PER_SHARD, SAMPLES

BATCH = 256
MANY_SHARDS = 100_000
LANES = 4096


def run_read() -> dict[str, Any]:
    """Shuffled samples of a local release, checksums verified, from a warm page cache."""
    with tempfile.TemporaryDirectory() as folder:
        made = made_elsewhere(Path(folder) / "release")
        _epochs(made, 1)
        started, cpu = time.perf_counter(), time.process_time()
        items = _epochs(made, 3)
        figures = {
            "items": items,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"workload": "stream-read", "batch": BATCH, **figures, "peak_rss_mb": peak}


def run_resume() -> dict[str, Any]:
    """From opening a release of a billion samples at 90% of an epoch to its first batch.

    Its 100,000 tars are links to one real tar, so that every byte asked for is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        one = made_elsewhere(Path(folder) / "release")
        many = _many(one, Path(folder) / "many")
        members = {"this": 1, "others": 63}
        whole = Stream(str(many), LANES, lanes=LANES, member="this", members=members)
        state = whole.state_dict() | {"cursor": int(whole.steps * 0.9)}
        whole.close()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds, cpus = [], []
        for _ in range(5):
            started, cpu = time.perf_counter(), time.process_time()
            stream = Stream(
                str(many), LANES, lanes=LANES, member="this", members=members, state=state
            )
            batch = stream.read()
            seconds.append(time.perf_counter() - started)
            cpus.append(time.process_time() - cpu)
            assert len(batch) == LANES // 64 and (batch.weight == 1).all()
            stream.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "workload": "stream-resume",
        "items": MANY_SHARDS * PER_SHARD,
        "seconds": min(seconds),
        "cpu_seconds": min(cpus),
        "seconds_to_first_batch": min(seconds),
        "seconds_to_first_batch_median": sorted(seconds)[2],
        "peak_rss_mb": peak,
        "rss_before_mb": before,
        "state_bytes": len(json.dumps(state)),
    }


@dataclass
class Simulated:
    """What a simulated run came to."""

    samples: int
    steps: int = 0
    aborted: int = 0
    joined: int = 0
    left: int = 0
    lanes_moved: int = 0
    masked: int = 0


def run_simulate(scale: float = 1.0) -> dict[str, Any]:
    """A billion samples, 1,000 ranks: exactly once through joins, leaves, aborts and damage."""
    started, cpu = time.perf_counter(), time.process_time()
    shards = max(int(MANY_SHARDS * scale), 20)
    found = simulate(shards, PER_SHARD, LANES, 64, max(int(1000 * min(scale * 10, 1)), 8), seed=1)
    return {
        "workload": "stream-simulate",
        "items": found.samples,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        **{k: v for k, v in vars(found).items() if k != "samples"},
    }


def simulate(
    shards: int, per_shard: int, lanes: int, per_lane: int, ranks: int, seed: int
) -> Simulated:
    """Run an epoch over a made-up release; AssertionError unless each sample is served just once in
    committed steps. One shard in a thousand is corrupt: its samples are served masked. One step in
    twenty is aborted, after every rank has read it; members come and go about as often.

    Memory: one byte a sample, and the plan.
    """
    chance = random.Random(seed)
    sizes = np.random.default_rng(seed).integers(per_shard * 9 // 10, per_shard + 1, shards)
    entries = [
        ShardEntry(f"{i:06d}.tar", int(n), int(n) * 15_000, "00" * 32) for i, n in enumerate(sizes)
    ]
    view = View("nowhere", Manifest("simulated", "0", {}, tuple(entries)))
    cut = chunks.cut(view.manifest.sizes, chunks.chunk_samples(view.manifest.samples))
    plan = Plan(view, cut, seed=seed, epoch=0, lanes=lanes, window=4)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    times = np.zeros(int(starts[-1]), dtype=np.uint8)
    corrupt = np.zeros(shards, dtype=bool)
    corrupt[chance.sample(range(shards), max(1, shards // 1000))] = True
    members = {f"rank{i}": chance.choice([1, 2, 4]) for i in range(ranks)}
    owned = assign(lanes, members)
    schedules = {name: Schedule(plan, own, per_lane) for name, own in owned.items() if own}
    found = Simulated(plan.samples)
    step = 0
    while step * per_lane < plan.longest:
        if chance.random() < 0.05:
            _change(members, found, chance)
            new = assign(lanes, members)
            assert sorted(lane for own in new.values() for lane in own) == list(range(lanes))
            before = {lane: name for name, own in owned.items() for lane in own}
            found.lanes_moved += sum(before[lane] != n for n, own in new.items() for lane in own)
            schedules = {
                name: schedules[name] if owned.get(name) == own else Schedule(plan, own, per_lane)
                for name, own in new.items()
                if own
            }
            owned = new
        read = [schedule.step(step) for schedule in schedules.values()]
        if chance.random() < 0.05:
            found.aborted += 1
            continue  # nobody commits; the same step comes again
        for places in read:
            times[starts[places.shard] + places.row] += 1
            found.masked += int(corrupt[places.shard].sum())
        step += 1
    assert (times == 1).all(), "a sample was served twice, or never"
    assert found.masked == int(sizes[corrupt].sum())
    found.steps = step
    return found


def _change(members: dict[str, int], found: Simulated, chance: random.Random) -> None:
    if len(members) > 2 and chance.random() < 0.5:
        del members[chance.choice(sorted(members))]
        found.left += 1
    else:
        found.joined += 1
        members[f"late{found.joined}"] = chance.choice([1, 2, 4, 8])


def resume(folder: Path) -> dict[str, Any]:
    """From opening a release at 90% of an epoch to its first batch, of a process that has begun."""
    started, cpu = time.perf_counter(), time.process_time()
    stream = Stream(str(folder), BATCH)
    stream.seek(0, int(stream.steps * 0.9))
    batch = stream.read()
    assert len(batch) == BATCH and (batch.weight == 1).all()
    return {
        "items": 1,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def read(folder: Path) -> dict[str, Any]:
    """An epoch, shuffled, checksums verified."""
    for _ in zip(range(10), Stream(str(folder), BATCH), strict=False):
        pass
    started, cpu = time.perf_counter(), time.process_time()
    items = _epochs(folder, 1)
    return {
        "items": items,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def main(verb: str, folder: str, *more: str) -> None:
    """Our side of a comparison; prints its figures as JSON."""
    if verb == "many":
        _many(Path(folder), Path(more[0]), int(more[1]))
        print("{}")
    else:
        print(json.dumps({"read": read, "resume": resume}[verb](Path(folder))))


def _epochs(folder: Path, count: int) -> int:
    stream, items = Stream(str(folder), BATCH), 0
    for _ in range(count):
        items += sum(len(batch) for batch in stream)
    assert items == count * SAMPLES and not stream.damaged
    stream.close()
    return items


def made_elsewhere(folder: Path, samples: int = SAMPLES) -> Path:
    """A release made by another process, so that the memory reported is that of reading."""
    make = ["tests.benchmarks.shards", "make", "-", str(folder), str(samples)]
    command = [sys.executable, "-m", *make]
    subprocess.run(command, check=True)
    return folder


def _many(one: Path, folder: Path, shards: int = MANY_SHARDS) -> Path:
    """A release whose tars are all the first tar of another."""
    (folder / release.META).mkdir(parents=True)
    entry = views.whole(str(one)).manifest.shards[0]
    entries = []
    for number in range(shards):
        name = f"{release.shard_name(number, shards)}.tar"
        os.symlink(one / entry.path, folder / name)
        os.symlink(one / release.index_path(entry.path), folder / release.index_path(name))
        entries.append(ShardEntry(name, entry.samples, entry.bytes, entry.sha256))
    manifest = Manifest("many", "0", {}, tuple(entries))
    (folder / release.MANIFEST).write_text(json.dumps(manifest.to_json()))
    return folder


if __name__ == "__main__":
    main(*sys.argv[1:])
