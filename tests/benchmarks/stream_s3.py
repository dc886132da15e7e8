"""`stream-s3`, `stream-s3-ceph`: streaming from an S3 server on loopback, beside plain reading of the
same ranges.

A side is run by as many processes as it is given cores, as a training has loaders:

    python -m tests.benchmarks.stream_s3 ours|plain <url> <number> <processes>

prints a line when it could begin, begins when a line comes, and prints its figures as JSON.
"""

import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from pipeline.core import release
from pipeline.stream import chunks, views
from pipeline.stream.loader import Reading, Stream
from tests.benchmarks.stream import BATCH, made_elsewhere

# Enough that what is done once (connecting, signing) does not count.
_SAMPLES = 100_000
# Few lanes for each process, for this release has but 1,563 chunks, and as many steps ahead as keep
# the connections busy; a larger release has as much ahead with more lanes.
_CONNECTIONS, _LANES, _AHEAD = 16, 16, 16
_PAIRS = 5


def run_s3() -> dict[str, Any]:
    """Shuffled samples from an S3 server on loopback (`range_server`), beside the plain reading of
    the same ranges, as many at a time, in turn; `share`: the median of the ratios, where server
    and clients share all cores; `share_apart`: where the server has one half of them to itself and
    whoever asks it the other, as no server of objects is on the cores of a training."""
    with tempfile.TemporaryDirectory() as folder:
        made_elsewhere(Path(folder) / "release", _SAMPLES)
        command = [sys.executable, "-m", "tests.benchmarks.range_server", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            os.environ |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
                "AWS_ACCESS_KEY_ID": "none",
                "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            return _figures("stream-s3", "s3://bucket/release")
        finally:
            server.kill()


def run_s3_ceph() -> dict[str, Any]:
    """As `run_s3`, from a real server: Ceph's gateway, from Debian's packages."""
    import s3fs

    from tests.s3 import ceph

    with (
        tempfile.TemporaryDirectory() as folder,
        ceph.serving(Path("build/ceph"), "none", "none") as server,
    ):
        made = made_elsewhere(Path(folder) / "release", _SAMPLES)
        os.environ |= {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        fs.put(f"{made}/", "bucket/release", recursive=True)
        return _figures("stream-s3-ceph", "s3://bucket/release")


def _figures(workload: str, url: str) -> dict[str, Any]:
    runs = [_pair(url, 1) for _ in range(_PAIRS)]
    with _cores_apart() as cores:
        apart = [_pair(url, cores) for _ in range(_PAIRS)]
    return {
        "workload": workload,
        "items": _PAIRS * _SAMPLES,
        "seconds": sum(run["ours"] for run in runs),
        "cpu_seconds": sum(run["cpu_seconds"] for run in runs),
        **_shares(runs),
        "processes_apart": cores,
        **{f"{name}_apart": value for name, value in _shares(apart).items()},
    }


def _shares(runs: list[dict[str, float]]) -> dict[str, Any]:
    size = runs[0]["bytes"]
    shares = sorted(run["plain"] / run["ours"] for run in runs)
    return {
        "mb_per_s": round(size / min(run["ours"] for run in runs) / 1e6, 1),
        "plain_mb_per_s": round(size / min(run["plain"] for run in runs) / 1e6, 1),
        "share": round(shares[_PAIRS // 2], 3),
        "shares": [round(share, 3) for share in shares],
    }


@contextmanager
def _cores_apart() -> Iterator[int]:
    """Within, what this process has started is on the first half of its cores, and itself and what
    it starts on the others, of which there are so many; with one core, all stay on it."""
    from tests.chaos.processes import descendants

    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    started = [process.pid for process in descendants(os.getpid())]
    for process in started:
        _move(process, cores[:half] or cores)
    _move(os.getpid(), cores[half:])
    try:
        yield len(cores) - half
    finally:
        for process in [*started, os.getpid()]:
            _move(process, cores)


def _move(process: int, cores: list[int]) -> None:
    with suppress(ProcessLookupError, FileNotFoundError):
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setaffinity(int(thread), cores)


def _pair(url: str, processes: int) -> dict[str, float]:
    """Seconds of as many epochs as there are processes, and of asking the server for their ranges,
    and nothing more, on as many connections."""
    ours, plain = _side("ours", url, processes), _side("plain", url, processes)
    return {
        "ours": ours["seconds"],
        "cpu_seconds": ours["cpu_seconds"],
        "plain": plain["seconds"],
        "bytes": plain["bytes"],
    }


def _side(side: str, url: str, processes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.stream_s3", side, url]
    started = [
        subprocess.Popen(
            [*command, str(number), str(processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    pipes = [(p.stdin, p.stdout) for p in started if p.stdin and p.stdout]
    for _, told in pipes:
        told.readline()
    begun = time.perf_counter()
    for go, _ in pipes:
        go.write("go\n")
        go.flush()
    found = [json.loads(told.readline()) for _, told in pipes]
    seconds = time.perf_counter() - begun
    assert all(process.wait() == 0 for process in started)
    total = {name: float(sum(one[name] for one in found)) for name in found[0]}
    assert side == "plain" or total["samples"] == processes * _SAMPLES, total
    return {**total, "seconds": seconds}


def _ours(url: str, number: int, processes: int) -> Callable[[], dict[str, float]]:
    """Epochs of one of some members, which all take the same."""
    reading = Reading(connections=_CONNECTIONS, ahead=_AHEAD)
    stream = Stream(
        url,
        BATCH * processes,
        lanes=_LANES * processes,
        reading=reading,
        member=str(number),
        members={str(each): 1 for each in range(processes)},
    )

    def run() -> dict[str, float]:
        samples = sum(len(batch) for _ in range(processes) for batch in stream)
        assert not stream.damaged
        return {"samples": samples}

    return run


def _plain(url: str, number: int, processes: int) -> Callable[[], dict[str, float]]:
    """The ranges of all chunks, in any order, received and dropped."""
    import fsspec

    fs, root = fsspec.core.url_to_fs(url)
    ranges: list[tuple[str, int, int]] = []
    per_chunk = chunks.chunk_samples(_SAMPLES)
    for entry in views.whole(url).manifest.shards:
        data = fs.cat_file(f"{root}/{release.index_path(entry.path)}")
        offsets = np.frombuffer(data, release.INDEX)["offset"].tolist()
        edges = [*offsets[:-1:per_chunk], offsets[-1]]
        ranges += [(f"{root}/{entry.path}", *edge) for edge in itertools.pairwise(edges)]
    random.Random(number).shuffle(ranges)
    signed = {path: urlsplit(fs.sign(path)) for path in {path for path, _, _ in ranges}}
    own = threading.local()

    def run() -> dict[str, float]:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            came = pool.map(lambda r: _receive(own, signed[r[0]], r[1], r[2]), ranges)
            return {"bytes": sum(came)}

    return run


def _receive(own: Any, url: SplitResult, start: int, end: int) -> int:
    """The leanest client: a socket for each thread, answers received into one buffer and dropped;
    how many bytes came of the range."""
    if not hasattr(own, "socket"):
        own.socket = socket.create_connection((url.hostname, url.port))
        own.buffer = memoryview(bytearray(16 << 20))
    asked = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nRange: bytes={start}-{end - 1}"
    own.socket.sendall(f"{asked}\r\n\r\n".encode())
    came = head = 0
    while not head:
        came += own.socket.recv_into(own.buffer[came:])
        head = bytes(own.buffer[: min(came, 4096)]).find(b"\r\n\r\n") + 4
        head = 0 if head < 4 else head
    assert bytes(own.buffer[:12]) == b"HTTP/1.1 206", bytes(own.buffer[:head])
    while came < head + end - start:
        came += own.socket.recv_into(own.buffer[came : head + end - start])
    return came - head


def main(side: str, url: str, number: str, processes: str) -> None:
    """One process of a side."""
    run = {"ours": _ours, "plain": _plain}[side](url, int(number), int(processes))
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    figures = run()
    print(json.dumps({**figures, "cpu_seconds": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
