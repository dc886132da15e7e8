"""Decoder processes that die, hang, or want too much: each costs its own picture and no other."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.reasons import Status
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.pool import DecoderPool
from pipeline.fetch.settings import DownloadSection
from tests.fetch.pictures import encoded, photo
from tests.fetch.test_part import png_bomb

GOOD = encoded(photo())
ANY_SIZE = DecodeSettings(max_pixels=10**12)


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    """One decoder with the default limit on memory, for pictures of any size."""
    made = DecoderPool(ANY_SIZE, 1, 30.0, DownloadSection().decode_memory_mb * 2**20)
    yield made
    made.close()


def pid(pool: DecoderPool) -> int:
    return pool._all[0]._process.pid


def peak_mb(pool: DecoderPool) -> float:
    lines = Path(f"/proc/{pid(pool)}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def test_a_decoder_that_died_while_idle_costs_no_picture(pool: DecoderPool) -> None:
    for how in (signal.SIGKILL, signal.SIGSEGV):
        assert pool.submit(GOOD).result(60).status == Status.OK
        victim = pid(pool)
        os.kill(victim, how)
        assert pool.submit(GOOD).result(60).status == Status.OK
        assert pid(pool) != victim and len(pool._all) == 1


def test_a_decoder_that_dies_before_it_takes_the_picture_costs_none(pool: DecoderPool) -> None:
    assert pool.submit(GOOD).result(60).status == Status.OK
    victim = pid(pool)
    # Stopped, so that the body lies in the socket, unread, when the process dies.
    os.kill(victim, signal.SIGSTOP)
    waiting = pool.submit(GOOD)
    time.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    assert waiting.result(60).status == Status.OK
    assert pid(pool) != victim


def test_a_decoder_that_dies_with_a_picture_costs_that_one(pool: DecoderPool) -> None:
    assert pool.submit(GOOD).result(60).status == Status.OK
    victim = pid(pool)
    before = cpu_ticks(victim)
    slow = pool.submit(png_bomb(9000))
    after = pool.submit(GOOD)
    deadline = time.monotonic() + 20
    while cpu_ticks(victim) < before + 10:  # it is at work
        assert time.monotonic() < deadline
        time.sleep(0.02)
        if slow.done():
            pytest.skip("this machine decodes 81 megapixels faster than it is looked at")
    os.kill(victim, signal.SIGSEGV)
    lost = slow.result(60)
    assert lost.status == Status.DECODE and "exit status -11" in (lost.status_detail or "")
    assert after.result(60).status == Status.OK


def cpu_ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_fresh_decoder_is_tried_once_only(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def dead_on_arrival() -> object:
        process = type(pool)._started(pool)
        started.append(process)
        process._process.kill()
        process._process.wait()
        return process

    monkeypatch.setattr(pool, "_started", dead_on_arrival)
    lost = pool.submit(GOOD).result(60)
    assert lost.status == Status.DECODE and len(started) == 2 and not pool._all
    monkeypatch.undo()
    assert pool.submit(GOOD).result(60).status == Status.OK


def test_a_picture_that_wants_ten_gigabytes_costs_itself(pool: DecoderPool) -> None:
    assert pool.submit(GOOD).result(60).status == Status.OK
    victim = pid(pool)
    greedy = pool.submit(png_bomb(50_000)).result(60)
    assert greedy.status == Status.DECODE and greedy.status_detail == "out of memory"
    assert pool.submit(GOOD).result(60).status == Status.OK
    assert pid(pool) == victim
    assert peak_mb(pool) < 768
    # With the default cap it is not even tried.
    refusing = DecoderPool(DecodeSettings(), 1, 30.0, 768 * 2**20)
    try:
        assert refusing.submit(png_bomb(50_000)).result(60).status == Status.TOO_MANY_PIXELS
    finally:
        refusing.close()


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "I;16"])
def test_the_largest_allowed_picture_of_any_mode_fits(pool: DecoderPool, mode: str) -> None:
    side = int(DownloadSection().max_pixels ** 0.5)
    body = io.BytesIO()
    Image.new(mode, (side, side)).save(body, "PNG", compress_level=1)
    picture = pool.submit(body.getvalue()).result(60)
    assert picture.status == Status.OK, picture.status_detail
    assert peak_mb(pool) < 768


def test_a_slow_picture_is_stopped() -> None:
    pool = DecoderPool(DecodeSettings(max_pixels=10**9), 1, 0.2, 4 * 2**30)
    try:
        picture = pool.submit(png_bomb(24000)).result(60)
        assert picture.status == Status.DECODE and "over its time" in (picture.status_detail or "")
    finally:
        pool.close()


def test_decoders_end_with_a_killed_fetcher() -> None:
    code = """
import os, signal
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.pool import DecoderPool
pool = DecoderPool(DecodeSettings(), 1, 5.0, 2 * 2**30)
pool.submit(b"x").result(60)
print(pool._all[0]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", code]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert killed.returncode == -9, killed.stderr
    decoder = Path("/proc") / killed.stdout.decode().strip() / "stat"
    for _ in range(100):
        # Gone, or a zombie that only waits for its new parent.
        if not decoder.exists() or decoder.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the decoder outlives its fetcher")
