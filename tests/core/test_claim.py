"""A run folder belongs to one driver: of runs that race one gets it, and what a kill left is taken."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import claim
from pipeline.core.claim import NAME, claimed, holder
from pipeline.core.errors import EnvironmentProblem
from pipeline.core.storage import Store
from tests.conftest import ROOT

HOLD = """
import sys, time
from pipeline.core.claim import claimed
from pipeline.core.storage import Store
with claimed(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(root: Path, seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = hold(tmp_path, 30)
    try:
        with pytest.raises(
            EnvironmentProblem, match=f"process {first.pid} on {socket.gethostname()}"
        ):
            with claimed(store):
                raise AssertionError("held twice")
    finally:
        first.terminate()
        first.wait()


def test_what_a_killed_run_left_is_taken_at_once(tmp_path: Path) -> None:
    killed = hold(tmp_path, 30)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    store = Store(str(tmp_path))
    assert (tmp_path / NAME).exists()
    with claimed(store):
        found = holder(store)
        assert found is not None and found.pid == os.getpid()
    assert not (tmp_path / NAME).exists() and holder(store) is None


def test_a_process_with_the_pid_of_a_dead_one_does_not_hold_its_folder(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with claimed(store):
        written = json.loads((tmp_path / NAME).read_text())
    old = written | {"born": written["born"] - 1, "token": "of the dead one"}
    (tmp_path / NAME).write_text(json.dumps(old))
    with claimed(store):
        found = holder(store)
        assert found is not None and found.token not in ("of the dead one", written["token"])


def test_a_dead_process_that_nobody_has_waited_for_holds_nothing(tmp_path: Path) -> None:
    killed = hold(tmp_path, 30)
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    with claimed(Store(str(tmp_path))):
        found = holder(Store(str(tmp_path)))
        assert found is not None and found.pid == os.getpid()
    killed.wait()


@pytest.mark.parametrize(("age_s", "is_held"), [(5, True), (1000, False)])
def test_a_run_of_another_machine_holds_it_while_it_gives_signs(
    tmp_path: Path, age_s: float, is_held: bool
) -> None:
    store = Store(str(tmp_path))
    (tmp_path / NAME).parent.mkdir()
    other = claim.Claim("t", "elsewhere", 1, 1, time.time() - age_s)
    (tmp_path / NAME).write_text(json.dumps(other.__dict__))
    if is_held:
        with pytest.raises(EnvironmentProblem, match="on elsewhere"), claimed(store):
            pass
    else:
        with claimed(store):
            found = holder(store)
            assert found is not None and found.pid == os.getpid()


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_S", 0.05)
    store = Store(str(tmp_path))
    with claimed(store):
        first = holder(store)
        deadline = time.monotonic() + 10
        while (found := holder(store)) is None or found == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def race(root: str, barrier: "multiprocessing.synchronize.Barrier") -> bool:
    barrier.wait()
    try:
        with claimed(Store(root)):
            time.sleep(1.5)
            return True
    except EnvironmentProblem:
        return False


@pytest.mark.parametrize("is_left", [False, True])
def test_of_runs_that_race_one_gets_it(tmp_path: Path, is_left: bool) -> None:
    if is_left:
        killed = hold(tmp_path, 30)
        killed.kill()
        killed.wait()
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(4) as pool:
        barrier = manager.Barrier(4)
        won = pool.starmap(race, [(str(tmp_path), barrier)] * 4)
    assert sum(won) == 1
    assert not (tmp_path / NAME).exists()


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    s3.mkdir("claims")
    return "s3://claims/run"


def test_on_object_storage(bucket: str) -> None:
    store = Store(bucket)
    with claimed(store):
        assert holder(store) is not None
        with pytest.raises(EnvironmentProblem, match="in use"), claimed(store):
            pass
    assert holder(store) is None
