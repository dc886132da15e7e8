"""The alarm during a crawl: too few pictures come, or too many names fail.

Each task keeps a tally of how its URLs ended in a small file, which the driver reads now and then;
so the alarm rings in the first minutes, not when the first part is done.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.fetch.settings import DownloadSection

FOLDER = "_tallies"
_WRITE_EVERY_S = 5.0
_READ_EVERY_S = 5.0
# The second in `recheck` alone.
_SUCCEEDED = (Status.OK, Status.NOT_MODIFIED)
_DNS = (Status.DNS, Status.DNS_UNAVAILABLE)
# Refused by the other side, or by us for its sake, or not wanted: no sign of a broken network.
_NOT_ASKED = (Status.OPTED_OUT, Status.ROBOTS, Status.FILTERED)


class SuccessAlarm:
    """Judges the last `alarm_images` pictures that were to be asked for."""

    def __init__(self, settings: DownloadSection) -> None:
        self._settings = settings
        self._batches: deque[Counter[str]] = deque()
        self._window: Counter[str] = Counter()
        self._is_ringing = False

    def add(self, ended: Mapping[str, int]) -> str | None:
        """Count pictures by status; the line to show when this makes the alarm ring. It rings once
        until things are well again. What was not to be asked for counts neither way."""
        batch = Counter({s: n for s, n in ended.items() if n > 0 and s not in _NOT_ASKED})
        self._batches.append(batch)
        self._window.update(batch)
        while self._window.total() - self._batches[0].total() >= self._settings.alarm_images:
            self._window.subtract(self._batches.popleft())
        if self._window.total() < self._settings.alarm_images:
            return None
        line = self._line()
        was_ringing, self._is_ringing = self._is_ringing, line is not None
        return None if was_ringing else line

    def _line(self) -> str | None:
        images, config = self._window.total(), self._settings
        ok = sum(self._window[status] for status in _SUCCEEDED) / images
        dns = sum(self._window[status] for status in _DNS) / images
        if dns > config.alarm_max_dns_share:
            return (
                f"{dns:.0%} of the last {images} images failed for their host's name, over "
                f"download.alarm_max_dns_share = {config.alarm_max_dns_share:.0%}: the resolver is "
                "overloaded or broken; run one of your own on each machine (unbound, "
                "knot-resolver), name it in download.dns_servers, or lower download.concurrency"
            )
        if ok < config.alarm_min_ok_share:
            failed = Counter({s: n for s, n in self._window.items() if s not in _SUCCEEDED})
            most = ", ".join(f"{s} {n / images:.0%}" for s, n in failed.most_common(3))
            return (
                f"only {ok:.0%} of the last {images} images succeeded, under "
                f"download.alarm_min_ok_share = {config.alarm_min_ok_share:.0%} ({most}): look at "
                "the network and the resolver, lower download.concurrency, or lower the bound if "
                "the list is that old"
            )
        return None


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


@contextmanager
def watching(
    store: Store, settings: DownloadSection, ring: Callable[[str], None]
) -> Iterator[None]:
    """On the driver: call `ring` with a line whenever the tallies make the alarm ring."""
    clear(store)
    stop = threading.Event()

    def watch() -> None:
        alarm, known = SuccessAlarm(settings), dict[str, Counter[str]]()
        while not stop.wait(_READ_EVERY_S):
            with suppress(OSError):
                line = alarm.add(_since(store, known))
                if line:
                    ring(line)

    thread = threading.Thread(target=watch, name="alarm", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        clear(store)


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
