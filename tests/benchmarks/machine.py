"""What a measurement was taken on, and what a process tree takes of it."""

import os
import platform
import re
import resource
import subprocess
import threading
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
    own = resource.getrusage(resource.RUSAGE_SELF)
    tick = os.sysconf("SC_CLK_TCK")
    jvm = int(spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid())
    total = own.ru_utime + own.ru_stime
    for pid in [jvm, *_descendants(jvm)]:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended; its parent has its time
        # Fields 14 to 17 of proc(5): user, system, and those of the children waited for.
        total += sum(int(value) for value in stat[11:15]) / tick
    return total


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *_descendants(child)]
    return found
