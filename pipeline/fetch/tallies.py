"""Tallies: how the pictures of a crawl end, known on the driver before a part is done.

Each task keeps a tally of how its URLs ended in a small file, which the driver reads now and then;
so the alarm rings in the first minutes, not when the first part is done.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.usual import KEPT

FOLDER = "_tallies"
_WRITE_EVERY_S = 5.0
_READ_EVERY_S = 5.0
# Refused by the other side, or by us for its sake, or not wanted: no sign of a broken network.
_NOT_ASKED = (Status.OPTED_OUT, Status.ROBOTS, Status.FILTERED)
_WELL = (Status.OK, Status.NOT_MODIFIED)


@contextmanager
def tally(store: Store, part: int) -> Iterator[Callable[[str], None]]:
    """Inside a task: a function to call with the status of each picture as it ends. What it
    counted is written beside the tables every few seconds, and at the end."""
    counts: Counter[str] = Counter()
    stop = threading.Event()

    def write() -> None:
        # An alarm that cannot be written is no reason to fail.
        with suppress(Exception):
            store.write_json(f"{FOLDER}/part-{part:05d}.json", dict(counts))

    def keep_writing() -> None:
        while not stop.wait(_WRITE_EVERY_S):
            write()

    thread = threading.Thread(target=keep_writing, name="tally", daemon=True)
    thread.start()
    try:
        yield lambda status: counts.update((status,))
    finally:
        stop.set()
        thread.join()
        write()


class Tallies:
    """What the tallies of a run's tasks hold, on the driver. Removes those of an earlier run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Counter[str]] = {}
        self._read_at = time.monotonic()
        clear(store)

    def grown(self) -> Counter[str]:
        """Pictures that ended since it was last called, by "kept" or status; nothing within a few
        seconds of that. What was not to be asked for counts neither way."""
        if time.monotonic() - self._read_at < _READ_EVERY_S:
            return Counter()
        self._read_at = time.monotonic()
        ended = _since(self._store, self._known)
        counts = Counter({KEPT: sum(ended[status] for status in _WELL)})
        counts.update({s: n for s, n in ended.items() if s not in (*_WELL, *_NOT_ASKED)})
        return counts


def clear(store: Store) -> None:
    """Remove the tallies of an earlier run."""
    with suppress(FileNotFoundError):
        store.remove(FOLDER)


def _since(store: Store, known: dict[str, Counter[str]]) -> Counter[str]:
    """What the tallies hold beyond `known`, which is brought up to date."""
    grown: Counter[str] = Counter()
    folder = store.path(FOLDER)
    store.fs.invalidate_cache(folder)
    if not store.fs.exists(folder):
        return grown
    for path in store.fs.ls(folder, detail=False):
        name = str(path).rsplit("/", 1)[-1]
        if not name.startswith("part-"):
            continue
        now: Any = None
        with suppress(OSError, ValueError):
            now = Counter[str](store.read_json(f"{FOLDER}/{name}"))
        if now is not None:
            # A part that was begun again counts from nothing: what it lost is not taken back.
            grown.update(now - known.get(name, Counter()))
            known[name] = now
    return grown
