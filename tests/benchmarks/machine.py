"""What a measurement was taken on, and what a process tree takes of it."""

import ctypes
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_POLL_S = 0.2


def describe() -> dict[str, object]:
    """Processor, cores, memory and Python, JSON-ready."""
    processor = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        named = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        named = None
    return {
        "processor": named.group(1) if named else processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory >> 20,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


class PeakMemory:
    """Watches the memory of a process started as a session leader and of all its descendants.

    `mb` is the largest sum seen of their proportional set sizes, so that pages shared between
    them count once; sampled, so a peak shorter than `every_s` seconds may be missed.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", every_s: float = _POLL_S) -> None:
        self._session = process.pid
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mb = 0.0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mb = max(self.mb, _session_kb(self._session) / 1024)
            if self._stop.wait(self._every_s):
                return


def _session_kb(session: int) -> int:
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The command's name may hold spaces and brackets; fields count from after it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                found = re.search(r"Pss:\s+(\d+)", (folder / "smaps_rollup").read_text())
                total += int(found.group(1)) if found else 0
        except (OSError, IndexError):  # it ended meanwhile
            continue
    return total


def spark_cpu_seconds(spark: Any) -> float:
    """CPU time so far of this process, the JVM and its Python workers, ended ones included."""
    from pipeline.core.usage import cpu_seconds  # and Spark, which most of what is measured lacks

    found = cpu_seconds(spark)
    if found is None:
        raise OSError("this system does not tell the CPU time of processes")
    return found


def counted(command: Sequence[str | Path]) -> tuple[float, float]:
    """Run a command; wall seconds, and CPU seconds of all processes that came of it.

    Those too whose parents ended before them, and those that nobody waits for, as PySpark's workers:
    a control group counts them all. Where none can be made the latter are missing, and it is said.
    Raises CalledProcessError when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "used.json"
        module = [sys.executable, "-m", "tests.benchmarks.machine", str(told)]
        root = Path(__file__).resolve().parents[2]
        # What it prints is no result of ours.
        subprocess.run([*module, *map(str, command)], cwd=root, check=True, stdout=2)
        used = json.loads(told.read_text())
    return used["seconds"], used["cpu_seconds"]


_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans become children of this process
_LINGER_S = 60.0


class _Group:
    """A control group of its own for this process and all it starts, of version 1 or 2."""

    def __init__(self) -> None:
        name = f"pairmill-bench-{os.getpid()}"
        old, new = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")
        self._folder = (old if old.is_dir() else new) / name
        self._is_old = old.is_dir()
        self.is_there = False
        if self._is_old or (new / "cgroup.controllers").exists():
            with suppress(OSError):
                self._folder.mkdir()
                (self._folder / "cgroup.procs").write_text(str(os.getpid()))
                self.is_there = True

    def cpu_seconds(self) -> float:
        """Of everything in it so far, whatever has become of it."""
        if self._is_old:
            return int((self._folder / "cpuacct.usage").read_text()) / 1e9
        told = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(told["usage_usec"]) / 1e6

    def leave(self) -> None:
        """Go back to the group above, and remove it if nothing is left in it."""
        with suppress(OSError):
            (self._folder.parent / "cgroup.procs").write_text(str(os.getpid()))
            self._folder.rmdir()


def _count(told: str, *command: str) -> int:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("this system does not hand orphans to whom asks for them")
    group = _Group()
    before = group.cpu_seconds() if group.is_there else 0.0
    started = time.perf_counter()
    status = subprocess.run(command, check=False).returncode
    seconds = time.perf_counter() - started
    deadline = time.monotonic() + _LINGER_S
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = used.ru_utime + used.ru_stime
    if group.is_there:
        cpu_seconds = group.cpu_seconds() - before
        group.leave()
    else:
        print("no control group: processes that nobody waited for are not counted", file=sys.stderr)
    figures = {"seconds": seconds, "cpu_seconds": cpu_seconds}
    Path(told).write_text(json.dumps(figures))
    return status


if __name__ == "__main__":
    sys.exit(_count(*sys.argv[1:]))
