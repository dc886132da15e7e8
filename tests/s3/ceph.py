"""A real S3 server on loopback: Ceph's object gateway from Debian's packages.

Nothing is installed: the packages are fetched by apt and unpacked into a folder, where they are found
the next time. Objects are kept in memory and gone with the server.

python -m tests.s3.ceph <folder>      starts it, prints how it is reached, and ends with its input
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
_MEMORY_BYTES = 4 << 30
_START_S = 120.0
_STORAGE_TRIES = 3

_CONF = """\
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon_port}]
mon initial members = a
public addr = 127.0.0.1
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
# On loopback, of one user, for minutes: nobody to be kept out, nothing to be kept.
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd class update on start = false
mon max pg per osd = 1000
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
run dir = {run}
admin socket = {run}/$name.asok
log file = {run}/$name.log
mon cluster log file = {run}/cluster.log
[mon.a]
mon data = {run}/mon
[osd]
osd data = {run}/osd
osd objectstore = memstore
memstore device bytes = {memory}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {run}/rgw
rgw enable usage log = false
rgw thread pool size = 64
"""


class Unavailable(Exception):
    """The server cannot be had on this machine; says why, and what would help."""


@dataclass(frozen=True)
class Server:
    """A running gateway. log: the folder of its logs."""

    endpoint: str
    access_key: str
    secret_key: str
    log: Path


def unpacked(folder: Path) -> Path:
    """The folder with the packages' files, fetched unless they are there. Raises Unavailable."""
    folder = folder.absolute()  # what unpacks runs elsewhere
    root = folder / "root"
    if (root / ".whole").exists():
        return root
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise Unavailable(f"there is no {tool}: the server is unpacked from Debian's packages")
    shutil.rmtree(root, ignore_errors=True)
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    names = _with_dependencies()
    _apt(["apt-get", "download", *names], archives)
    for archive in sorted(archives.glob("*.deb")):
        _apt(["dpkg", "-x", str(archive), str(root)], archives)
    shutil.rmtree(archives)
    (root / ".whole").touch()
    return root


def _with_dependencies() -> list[str]:
    """The packages that apt would add to this machine."""
    asked = ["apt-get", "install", "--simulate", "--no-install-recommends", *_PACKAGES]
    lines = _apt(asked, Path("/")).splitlines()
    missing = [line.split()[1] for line in lines if line.startswith("Inst ")]
    return sorted({*missing, *_PACKAGES})


def _apt(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(
            f"`{' '.join(command[:2])}` for Debian's {', '.join(_PACKAGES)} failed: {said[0]}; they "
            "are in Debian 12, after `apt-get update` with a network"
        )
    return done.stdout


@contextmanager
def serving(folder: Path, access_key: str, secret_key: str) -> Iterator[Server]:
    """The gateway, with one user of these keys, until the block ends; packages lie in `folder`.

    Raises Unavailable when the packages cannot be had or the server does not come up.
    """
    root = unpacked(folder)
    # Short: a socket's name may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ceph-", ignore_cleanup_errors=True) as run:
        with ExitStack() as processes:
            ceph = _Ceph(root, Path(run), processes)
            ceph.start_storage()
            user = ("user", "create", "--uid=tests", "--display-name=tests")
            keys = (f"--access-key={access_key}", f"--secret-key={secret_key}")
            ceph.tell("radosgw-admin", *user, *keys)
            ceph.start_daemon("radosgw", "-n", "client.rgw")
            ceph.wait(lambda: _answers(ceph.port), "the gateway")
            yield Server(f"http://127.0.0.1:{ceph.port}", access_key, secret_key, Path(run))


class _Ceph:
    """Programs of an unpacked Ceph on a configuration of their own."""

    def __init__(self, root: Path, run: Path, processes: ExitStack) -> None:
        self._root, self._run, self._processes = root, run, processes
        self.port, self._mon_port = _free_port(), _free_port()
        self._fsid = str(uuid.uuid4())
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("mon", "osd", "rgw"):
            (run / name).mkdir()
        libraries = root / "usr/lib/x86_64-linux-gnu"
        (run / "ceph.conf").write_text(
            _CONF.format(
                fsid=self._fsid,
                mon_port=self._mon_port,
                port=self.port,
                libraries=libraries,
                run=run,
                memory=_MEMORY_BYTES,
            )
        )
        paths = (root / "lib/x86_64-linux-gnu", libraries, libraries / "ceph")
        self._environment: Mapping[str, str] = {
            "PATH": f"{root / 'usr/bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(run),
            "CEPH_CONF": str(run / "ceph.conf"),
            "LD_LIBRARY_PATH": ":".join(map(str, paths)),
            "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"),
        }

    def start_storage(self) -> None:
        """A monitor and one storage daemon in memory."""
        run, osd = self._run, str(uuid.uuid4())
        address = f"[v1:127.0.0.1:{self._mon_port}]"
        created = ("--create", "--clobber", "--fsid", self._fsid, "--addv", "a", address)
        self.tell("monmaptool", *created, str(run / "monmap"))
        self.tell("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(run / "monmap"))
        self.start_daemon("ceph-mon", "-i", "a")
        self.wait(lambda: self._succeeds("ceph", "mon", "stat"), "the monitor")
        self.wait(lambda: self._succeeds("ceph", "osd", "new", osd), "the monitor's map")
        self.tell("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        # On a busy machine the monitor may refuse it at first, and it ends.
        for left in reversed(range(_STORAGE_TRIES)):
            self.start_daemon("ceph-osd", "-i", "0")
            try:
                return self.wait(lambda: "1 up" in self._said("ceph", "osd", "stat"), "the storage")
            except Unavailable:
                if not left or self._daemons["ceph-osd"].poll() is None:
                    raise

    def tell(self, program: str, *arguments: str) -> None:
        """Run a program to its end. Raises Unavailable when it fails."""
        done = self._run_program(program, *arguments)
        if done is None or done.returncode:
            said = done.stderr.strip() if done else "no answer"
            raise Unavailable(f"{program} {arguments[0]} failed: {said[-500:]}")

    def start_daemon(self, program: str, *arguments: str) -> None:
        """Start a program that runs until the server is stopped."""
        log = (self._run / f"{program}.out").open("wb")
        self._processes.callback(log.close)
        process = subprocess.Popen(
            [self._root / "usr/bin" / program, "-f", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._daemons[program] = process
        self._processes.callback(process.wait)
        # Nothing of theirs is to be kept.
        self._processes.callback(process.kill)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so. Raises Unavailable when it takes too long, or what has been
        started has ended."""
        deadline = time.monotonic() + _START_S
        while not condition():
            ended = [name for name, process in self._daemons.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{ended[0]} ended" if ended else f"not within {_START_S:.0f} s"
                raise Unavailable(f"{what} did not come up: {why}; {self._last_words()}")
            time.sleep(0.2)

    def _last_words(self) -> str:
        lines = []
        for name in self._daemons:
            said = (self._run / f"{name}.out").read_text(errors="replace").splitlines()
            lines += [f"{name}: {line}" for line in said[-3:]]
        return " | ".join(lines)[-1500:]

    def _succeeds(self, program: str, *arguments: str) -> bool:
        done = self._run_program(program, *arguments)
        return done is not None and done.returncode == 0

    def _said(self, program: str, *arguments: str) -> str:
        done = self._run_program(program, *arguments)
        return done.stdout if done is not None else ""

    def _run_program(
        self, program: str, *arguments: str
    ) -> "subprocess.CompletedProcess[str] | None":
        """Run a program of the packages; None when it does not end in time."""
        path = self._root / "usr/bin" / program
        # Debian's own Python for what is written in it: it is built for that one.
        command = ["/usr/bin/python3", path] if program == "ceph" else [path]
        try:
            return subprocess.run(
                [*command, *arguments],
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=60 if program != "ceph" else 15,
            )
        except subprocess.TimeoutExpired:
            return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def main(folder: str) -> int:
    """Serve until the input ends; the exit status."""
    try:
        with serving(Path(folder), "test", "testsecret") as server:
            print(
                f"export AWS_ENDPOINT_URL={server.endpoint} AWS_ACCESS_KEY_ID={server.access_key} "
                f"AWS_SECRET_ACCESS_KEY={server.secret_key} AWS_DEFAULT_REGION=us-east-1",
                flush=True,
            )
            sys.stdin.read()
    except Unavailable as error:
        print(f"pairmill: no S3 server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
