"""A run over a damaged release, from disk and from a slow server: what is lost is masked, nothing
else changes."""

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.release import INDEX
from pipeline.stream.loader import Batch, Reading, Stream
from pipeline.stream.ranges import Patience
from tests.shards import plain_release, small_run

SHARD = 40
GONE = 4  # the shard that is deleted
GIVEN: dict[str, Any] = {"seed": 9, "lanes": 24, "window": 2, "chunk_samples": 8}


def samples() -> list[plain_release.Sample]:
    found = []
    for number in range(7 * SHARD + 13):
        key = f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}"
        record = f'{{"key": "{key}"}}'.encode()
        found.append((key, small_run.picture(number % 9), b"caption %d" % number, record))
    return found


SAMPLES = samples()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chaos") / "release"
    plain_release.write(folder, SAMPLES, SHARD)
    return folder


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> tuple[Path, set[int]]:
    """A copy with a shard deleted and bytes flipped in pictures, captions, headers, checksums;
    and the numbers of the samples that are lost."""
    folder = Path(shutil.copytree(sound, tmp_path / "release"))
    lost = set(range(GONE * SHARD, (GONE + 1) * SHARD))
    (folder / f"{GONE:05d}.tar").unlink()
    chance = random.Random(4)
    for shard in (0, 2, 5):
        tar, idx = folder / f"{shard:05d}.tar", folder / ".meta" / f"{shard:05d}.idx"
        index = np.frombuffer(idx.read_bytes(), INDEX).copy()
        data = bytearray(tar.read_bytes())
        for row in chance.sample(range(SHARD), 4):
            lost.add(shard * SHARD + row)
            if row % 4:
                at = chance.randrange(int(index["offset"][row]), int(index["offset"][row + 1]))
                data[at] ^= 1 << chance.randrange(8)
            else:
                index["crc32c"][row] ^= 1
        tar.write_bytes(data)
        idx.write_bytes(index.tobytes())
    return folder, lost


class Handler(SimpleHTTPRequestHandler):
    """Ranges of files; every fifth answer comes late, every seventh is a failure, once each."""

    protocol_version = "HTTP/1.1"
    asked: Counter[str] = Counter()  # noqa: RUF012
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        with self.lock:
            self.asked[self.path + wanted] += 1
            is_first, number = self.asked[self.path + wanted] == 1, len(self.asked)
        path = Path(self.translate_path(self.path))
        if is_first and wanted and number % 7 == 0:
            self.answer(503, b"")
        elif not path.is_file():
            self.answer(404, b"")
        else:
            if is_first and wanted and number % 5 == 0:
                time.sleep(1.0)
            data = path.read_bytes()
            if wanted:
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                data = data[int(start) : int(end) + 1]
            self.answer(206 if wanted else 200, data)

    def answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def url(damaged: tuple[Path, set[int]]) -> Iterator[str]:
    Handler.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(damaged[0])))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def rows_of(batch: Batch) -> list[int]:
    return (batch.shard * SHARD + batch.row).tolist()


@pytest.mark.parametrize("place", ["disk", "server"])
def test_what_is_lost_is_masked_and_nothing_is_repeated(
    sound: Path, damaged: tuple[Path, set[int]], url: str, place: str
) -> None:
    folder, lost = damaged
    undisturbed = [sorted(rows_of(b)) for b in Stream(str(sound), 24, **GIVEN)]
    root = str(folder) if place == "disk" else url
    reading = Reading(patience=Patience(tries=3, backoff_s=0.01, hedge_s=0.2, stall_s=20))
    chance, members = random.Random(1), {"a": 3, "b": 1}

    def opened(name: str) -> Stream:
        return Stream(root, 24, member=name, members=members, reading=reading, **GIVEN)

    run = {name: opened(name) for name in members}
    served: Counter[int] = Counter()
    masked, step, dropped = set(), 0, 0
    while step < len(undisturbed):
        if step in (3, 7):  # one leaves, another comes
            gone = "a" if step == 3 else "b"
            members.pop(gone, None)
            if gone in run:
                run.pop(gone).close()
                members[new := f"after-{gone}"] = 2
                run[new] = opened(new)
                run[new].load_state_dict(next(s for n, s in run.items() if n != new).state_dict())
                for stream in run.values():
                    stream.set_members(members)
        batches = [stream.read() for stream in run.values()]
        assert sorted(row for b in batches for row in rows_of(b)) == undisturbed[step]
        if chance.random() < 0.2:
            dropped += 1
            continue
        for batch in batches:
            served.update(rows_of(batch))
            for row, key, jpg, weight in zip(
                rows_of(batch), batch.keys, batch.jpg, batch.weight, strict=True
            ):
                if weight:
                    assert (key, jpg) == SAMPLES[row][:2]
                else:
                    masked.add(row)
                    assert (key, jpg) == ("", b"")
        for stream in run.values():
            stream.commit()
        step += 1
    assert dropped and set(served.values()) == {1} and len(served) == len(SAMPLES)
    assert masked == lost
    noted = {d.shard * SHARD + d.row for s in run.values() for d in s.damaged}
    assert noted <= lost
    for stream in run.values():
        stream.close()
