"""Memory of the client and its decoder, measured while more is on offer than fits."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.server import Handler, Request, WebServer
from tests.fetch.test_part import PHOTO, settings

ROOT = Path(__file__).resolve().parents[2]
BODY_BYTES = 49_900_000
LIMIT_BYTES = 1_500_000_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Downloads the URLs of its second argument, one line each; prints how they ended.
CHILD = """
import collections, io, json, sys
from pipeline.fetch.flow import download_part
from pipeline.fetch.settings import DownloadSection
from tests.fetch.test_sharing import batch
config = DownloadSection.model_validate_json(sys.argv[1])
urls = sys.stdin.read().split()
result = download_part([batch(urls)], config, open("/dev/null", "wb"))
print(json.dumps(collections.Counter(r["status"] for r in result.rows)))
"""


def resident_bytes(pid: int) -> int:
    """Of a process and its children, what they share counted twice; 0 when it is gone."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        # Decoders are started by threads.
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += (thread / "children").read_text().split()
    except OSError:
        return total
    return total + sum(resident_bytes(int(child)) for child in set(children))


def padded(at_once: list[int]) -> Handler:
    """A picture of a few KB in a body of 50 MB; notes how many are being sent."""

    async def handler(request: Request) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        try:
            await request.send(PHOTO, length=BODY_BYTES)
            piece = bytes(1 << 20)
            left = BODY_BYTES - len(PHOTO)
            while left:
                request.writer.write(piece[:left] if left < len(piece) else piece)
                left -= min(left, len(piece))
                await request.writer.drain()
        finally:
            at_once[0] -= 1

    return handler


def measured(
    tmp_path: Path, server: WebServer, urls: list[str], is_enough: Callable[[], bool]
) -> tuple[dict[str, int], int]:
    """How the URLs ended, empty when they were cut off because it was enough; and the most memory
    that was resident."""
    config = settings(tmp_path, server, concurrency=200, placeholder_urls=0, timeout_s=300.0)
    config = config.model_copy(update={"url_timeout_s": 600.0})
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, config.model_dump_json(exclude_defaults=True)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert child.stdin and child.stdout
    child.stdin.write("\n".join(urls).encode())
    child.stdin.close()
    most, ends_at = 0, time.monotonic() + 350
    while child.poll() is None and time.monotonic() < ends_at and not is_enough():
        most = max(most, resident_bytes(child.pid))
        time.sleep(0.01)
    if child.poll() is None:
        child.kill()
        child.wait()
        return {}, most
    assert child.returncode == 0
    return json.loads(child.stdout.read()), most


def finished(server: WebServer) -> int:
    """Bodies that were sent to their end."""
    return len([e for e in list(server.events) if e.path == "/0.jpg" and e.ended < 1e9])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_hundred_large_bodies_fit_into_the_memory_of_a_core(tmp_path: Path) -> None:
    at_once = [0, 0]
    with WebServer({"/0.jpg": padded(at_once)}) as server:
        urls = [f"http://{i}.test/0.jpg" for i in range(200)]
        # A dozen go through while the others are held back; each costs half a second or more.
        _, most = measured(
            tmp_path, server, urls, lambda: finished(server) >= 12 and at_once[1] > 150
        )
        assert finished(server) >= 12 and at_once[1] > 150
    assert most < LIMIT_BYTES, most
    print(f"200 bodies of 50 MB: {most / 1e6:.0f} MB resident")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_gzip_bombs_fit_as_well(tmp_path: Path) -> None:
    bomb = gzip.compress(PHOTO + bytes(BODY_BYTES - len(PHOTO)))
    assert len(bomb) < 100_000

    async def handler(request: Request) -> None:
        await asyncio.sleep(0.5)
        await request.send(bomb, headers={"Content-Encoding": "gzip"})

    with WebServer({"/0.jpg": handler}) as server:
        urls = [f"http://{i}.test/0.jpg" for i in range(34)]
        ended, most = measured(tmp_path, server, urls, lambda: False)
    assert ended == {"ok": 34}
    assert most < LIMIT_BYTES, most
    print(f"34 gzip bombs of 50 MB: {most / 1e6:.0f} MB resident")
