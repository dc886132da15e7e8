"""Start and stop the server process of an embedded web or of a replay."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.core.errors import EnvironmentProblem, InputError
from pipeline.fakeweb.build import MANIFEST

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Served:
    """A web being served on loopback.

    hosts_file: JSON of host name to address; a name that is not in it does not resolve, unless
    there is a "*". dns_server: as `download.dns_servers` takes it; it knows the same names, and
    gives some of them another address when asked again; "" when there is none. ca_file: PEM of the
    authority that signed the certificates. log_path: JSON lines as `httpd` describes them.
    """

    hosts_file: str
    http_port: int
    https_port: int
    ca_file: str
    log_path: str
    dns_server: str


@contextmanager
def serving(folder: str) -> Iterator[Served]:
    """Serve the web that `write_web` made in a folder, in a process of its own.

    Raises InputError when there is no whole web, EnvironmentProblem when the server will not start.
    """
    root = Path(folder).absolute()
    if not (root / MANIFEST).exists():
        raise InputError(f"no embedded web in {folder}; write it first")
    with tempfile.TemporaryDirectory(prefix="pairmill-web-") as state:
        arguments = ["pipeline.fakeweb.server", str(root), state]
        with running(arguments, root / "files/hosts.json", root / "access.jsonl") as served:
            yield served


@contextmanager
def running(arguments: Sequence[str], hosts_file: Path, log: Path) -> Iterator[Served]:
    """Run a server module until the block ends. arguments: its name, then its own arguments."""
    package_root = str(Path(pipeline.__file__).absolute().parent.parent)
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    try:
        ready = _wait_until_ready(process)
        yield Served(
            hosts_file=str(hosts_file),
            http_port=ready["http_port"],
            https_port=ready["https_port"],
            ca_file=ready["ca_file"],
            log_path=str(log),
            dns_server=ready["dns_server"],
        )
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _wait_until_ready(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the server says of itself once it listens."""
    assert process.stdout
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise EnvironmentProblem(
            f"the loopback server did not start (exit status {process.poll()})"
        )
    ready: dict[str, Any] = json.loads(line)
    return ready
