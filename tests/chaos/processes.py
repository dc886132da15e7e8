"""The processes of one job: found through /proc, ended by their number, and nobody else's."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT, SPARK_CONF


@dataclass(frozen=True)
class Process:
    """born: in the kernel's ticks, as a number may be given to another process later."""

    pid: int
    parent: int
    born: int
    command: str

    def signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def is_alive(self) -> bool:
        found = _look(self.pid)
        return found is not None and found.born == self.born


def _look(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (OSError, IndexError):
        return None
    if stat[0] in "ZX":
        return None
    return Process(pid, int(stat[1]), int(stat[19]), command.decode("utf-8", "replace"))


def descendants(pid: int) -> list[Process]:
    """All processes below one, parents before children."""
    everyone = [
        p for e in Path("/proc").iterdir() if e.name.isdigit() and (p := _look(int(e.name)))
    ]
    children: dict[int, list[Process]] = {}
    for process in everyone:
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        mine = children.get(todo.pop(), [])
        found += mine
        todo += [p.pid for p in mine]
    return found


@dataclass
class Job:
    """A job under spark-submit, as a user starts it; both its streams go to a file."""

    process: "subprocess.Popen[bytes]"
    log: Path
    started_at: float
    seen: set[Process] = field(default_factory=set)

    def below(self) -> list[Process]:
        found = descendants(self.process.pid)
        self.seen.update(found)
        return found

    def workers(self) -> list[Process]:
        """Spark's Python workers and what they have started (decoders, archive readers)."""
        found = self.below()
        daemons = {
            p.pid for p in found if "pyspark.worker" in p.command and not _is_worker(p, found)
        }
        below: set[int] = set()
        for process in found:  # parents come first
            if process.parent in daemons | below:
                below.add(process.pid)
        return [p for p in found if p.pid in below]

    def server(self) -> Process | None:
        """What serves the embedded web and its names."""
        return next((p for p in self.below() if "pipeline.fakeweb.server" in p.command), None)

    def kill(self) -> None:
        """End driver and JVM at once; what they had started finds that out by itself, as it would."""
        self.below()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.below()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> int | None:
        """The exit status, None when it still runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def end(self) -> None:
        """Whatever happened: leave nothing behind."""
        self.kill()
        deadline = time.monotonic() + 20
        while any(p.is_alive() for p in self.seen) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in self.seen:
            process.signal(signal.SIGKILL)

    def said(self) -> str:
        """The last line that is for the user."""
        text = self.log.read_text("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.startswith("pairmill: ")]
        return lines[-1].removeprefix("pairmill: ") if lines else ""

    def has_traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.log.read_text("utf-8", "replace")


def _is_worker(process: Process, found: list[Process]) -> bool:
    """A worker is a fork of the daemon, and has its command line."""
    return any(p.pid == process.parent and "pyspark.worker" in p.command for p in found)


def start(job: str, arguments: list[str], log: Path, spark_folder: Path, cores: int = 2) -> Job:
    """Start a job of jobs/ by the quick Spark of the tests."""
    spark_folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [ROOT / "conf/environment/submit.sh", ROOT / f"jobs/{job}.py", *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "SPARK_ARGS": f"--properties-file {SPARK_CONF} --master local[{cores},2]",
            "SPARK_LOCAL_DIRS": str(spark_folder),
            "TMPDIR": str(log.parent),  # who is killed leaves what it had there
        },
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Job(process, log, time.time())
