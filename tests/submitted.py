"""Jobs run as a user runs them: spark-submit in a process of its own, quick by tests/spark.conf."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.conftest import ROOT, SPARK_CONF

Job = subprocess.Popen[str]


def demo(
    sets: Iterable[str], cores: int = 2, options: str = "", job: str = "run", **variables: str
) -> Job:
    """Start a job, the whole line or one stage, on the embedded web; both its streams are read from
    stdout. options: of spark-submit, further ones; variables: of its environment."""
    words = ["--config", str(ROOT / "conf/demo.toml")]
    words += [word for s in sets for word in ("--set", s)]
    return submit(ROOT / f"jobs/{job}.py", words, cores, options, **variables)


def submit(job: Path, words: list[str], cores: int, options: str = "", **variables: str) -> Job:
    """Start a job, as `demo` does."""
    spark = f"--properties-file {SPARK_CONF} --master local[{cores}] {options}"
    return subprocess.Popen(
        [ROOT / "conf/environment/submit.sh", job, *words],
        cwd=ROOT,
        env=os.environ | {"SPARK_ARGS": spark} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(job: Job) -> str:
    """Wait for a job that is to succeed; what it printed."""
    try:
        output, _ = job.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        kill(job)
        raise
    assert job.returncode == 0, output[-4000:]
    return output


def kill(job: Job) -> None:
    """End a job and all its processes at once, wherever they are."""
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()


def wait_for(condition: Callable[[], bool], what: str, job: Job) -> None:
    """Wait until something is so; fails when the job ends before."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if condition():
            return
        assert job.poll() is None, job.communicate()[0][-3000:]
        time.sleep(0.02)
    raise AssertionError(f"in vain waited for {what}")
