"""A standalone cluster on loopback: a master and workers as processes of their own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

SPARK_HOME = Path(pyspark.__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Worker:
    """One worker: its own folder and home, and no path of this checkout in its environment."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    def executors(self) -> list[int]:
        """Ids of the executor JVMs that it has started."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if b"CoarseGrainedExecutorBackend" in command and self._is_below(entry):
                        found.append(int(entry.name))
        return found

    def _is_below(self, entry: Path) -> bool:
        return Path(os.readlink(entry / "cwd")).is_relative_to(self.folder)

    def decommission(self) -> None:
        """Tell it that its machine will go, as sbin/decommission-worker.sh and spot hooks do."""
        os.kill(self.process.pid, signal.SIGPWR)

    def told(self) -> str:
        """What its executors have logged."""
        logs = self.folder.glob("app-*/*/stderr")
        return "".join(log.read_text("utf-8", "replace") for log in sorted(logs))

    def kill(self) -> None:
        """End the worker and its executors at once, as a machine that is switched off."""
        executors = self.executors()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for executor in executors:
            with suppress(ProcessLookupError):
                os.kill(executor, signal.SIGKILL)
        self.process.wait()


@dataclass
class Cluster:
    """url: of the master. workers: by name, those that were killed as well."""

    folder: Path
    url: str
    workers: dict[str, Worker] = field(default_factory=dict)

    def start_worker(self, name: str) -> Worker:
        folder = self.folder / name
        (folder / "home").mkdir(parents=True)
        process = subprocess.Popen(
            [SPARK_HOME / "bin/spark-class", "org.apache.spark.deploy.worker.Worker"]
            + ["--cores", "1", "--memory", "2g", "--host", "127.0.0.1", "--webui-port", "0"]
            + ["--work-dir", folder, self.url],
            cwd=folder,
            env=bare_environment()
            | {
                "HOME": str(folder / "home"),
                "SPARK_WORKER_OPTS": "-Dspark.decommission.enabled=true",
            },
            stdout=(folder / "worker.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.workers[name] = Worker(folder, process)
        return self.workers[name]


def bare_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME") if name in os.environ}
    return kept | {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "LANG": "C.UTF-8"}


@contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """A master; workers are started in the block. All are ended with it."""
    port = free_port()
    with (folder / "master.log").open("wb") as log:
        master = subprocess.Popen(
            [SPARK_HOME / "bin/spark-class", "org.apache.spark.deploy.master.Master"]
            + ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"],
            cwd=folder,
            env=bare_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    cluster = Cluster(folder, f"spark://127.0.0.1:{port}")
    try:
        _wait_for_port(port, master)
        yield cluster
    finally:
        for worker in cluster.workers.values():
            worker.kill()
        with suppress(ProcessLookupError):
            os.killpg(master.pid, signal.SIGKILL)
        master.wait()


def _wait_for_port(port: int, master: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and master.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AssertionError("the master does not listen")
