"""A run folder belongs to one driver at a time: a second run in it is refused.

The claim is a file that is created only if it is not there; it says who holds it, and its holder
writes it anew every few seconds. What a killed run has left is taken over: at once when it was on
this machine, else when it has given no sign of life for `STALE_S`.
"""

import contextlib
import json
import os
import posixpath
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core import s3
from pipeline.core.errors import EnvironmentProblem
from pipeline.core.storage import Store

NAME = "_stages/.claim"
BEAT_S = 15.0
STALE_S = 120.0


@dataclass(frozen=True)
class Claim:
    """Who holds a folder. born: when its process started, in the kernel's ticks; another process
    may have the same pid later. beat_at: Unix seconds of the last sign of life, by its clock."""

    token: str
    host: str
    pid: int
    born: int
    beat_at: float


def _born(pid: int) -> int:
    """Start time of a process of this machine; 0 when there is none, when it has ended and is not
    waited for yet, or when the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


@contextmanager
def claimed(store: Store, name: str = NAME) -> Iterator[None]:
    """Hold the folder while the block runs. Raises EnvironmentProblem when another run holds it.

    name: of the claim's file in it, which all who share the folder must agree on.
    """
    claim = Claim(uuid.uuid4().hex, socket.gethostname(), os.getpid(), _born(os.getpid()), 0.0)
    _take(store, name, claim)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, name, claim, stop), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join(timeout=2 * BEAT_S)
        with contextlib.suppress(OSError):
            found = holder(store, name)
            if found is not None and found.token == claim.token:
                store.fs.rm(store.path(name))


def holder(store: Store, name: str = NAME) -> Claim | None:
    """Who holds the folder; None for nobody. A claim that cannot be read is nobody's."""
    try:
        return Claim(**json.loads(store.fs.cat_file(store.path(name))))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(claim: Claim) -> bool:
    """Whether its holder still runs, as far as can be known from here."""
    if claim.host == socket.gethostname() and claim.born:
        return _born(claim.pid) == claim.born
    return time.time() - claim.beat_at < STALE_S


def _take(store: Store, name: str, claim: Claim) -> None:
    store.fs.makedirs(posixpath.dirname(store.path(name)), exist_ok=True)
    for _ in range(3):
        if _create(store, name, claim):
            return
        found = holder(store, name)
        if found is None and _is_fresh(store, name):
            time.sleep(0.5)  # it is being written at this moment
            continue
        if found is not None and is_alive(found):
            age = max(0, round(time.time() - found.beat_at))
            raise EnvironmentProblem(
                f"{store.root} is in use by process {found.pid} on {found.host}, which gave a sign "
                f"of life {age} s ago; wait for it or stop it, or use another folder"
            )
        _remove(store, name, found)
    raise EnvironmentProblem(f"{store.root}: another run is just taking it; try again")


def _create(store: Store, name: str, claim: Claim) -> bool:
    """Write the claim unless one is there; whether it was written."""
    data = _encoded(claim)
    path = store.path(name)
    if store.is_local:
        try:
            with open(path, "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True
    if holder(store, name) is not None:  # asked for itself: listings may be old
        return False
    if s3.is_s3(store.fs):
        if not s3.put_once(store.fs, path, data):
            return False
    else:
        store.fs.pipe_file(path, data)
    # Object stores differ in what they promise to writers that race: see who has won.
    time.sleep(1.0)
    found = holder(store, name)
    return found is not None and found.token == claim.token


def _is_fresh(store: Store, name: str) -> bool:
    try:
        return store.is_local and time.time() - Path(store.path(name)).stat().st_mtime < BEAT_S
    except OSError:
        return False


def _remove(store: Store, name: str, dead: Claim | None) -> None:
    """Take a dead claim away. Of several that want to, a rename lets one succeed."""
    path = store.path(name)
    with contextlib.suppress(OSError):
        if not store.is_local:
            store.fs.rm(path)
            return
        aside = Path(f"{path}.{uuid.uuid4().hex}")
        Path(path).rename(aside)
        if dead is not None and dead.token.encode() not in aside.read_bytes():
            os.link(aside, path)  # another run had been faster: this is its claim
        aside.unlink()


def _beat(store: Store, name: str, claim: Claim, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        # A full disk or a network that is away is for the run itself to find.
        with contextlib.suppress(Exception):
            found = holder(store, name)
            if found is not None and found.token == claim.token:
                _overwrite(store, name, claim)


def _overwrite(store: Store, name: str, claim: Claim) -> None:
    with store.publish(name) as file:
        file.write(_encoded(claim))


def _encoded(claim: Claim) -> bytes:
    now: dict[str, Any] = asdict(claim) | {"beat_at": time.time()}
    return json.dumps(now).encode()
