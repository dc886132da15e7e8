"""Fetched chunks on a local disk, up to a size; shared by the processes of a machine."""

import contextlib
import os
import threading
from pathlib import Path


class DiskCache:
    """Files by name below a folder; the least recently used go when it is over `limit_bytes`.

    Names must say the content whole, for a file is never replaced. Processes may share the folder;
    each looks at what is there whenever it has written a hundredth of the limit, so that several
    may be over it by that much each.
    """

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self._folder, self._limit = Path(folder), limit_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        # What may be written between two looks, which take as long as there are files.
        self._step = limit_bytes // 100
        self._written = self._step
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """What is stored under a name, if anything."""
        path = self._folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Store, unless the disk is full: a cache that cannot be written is none."""
        part = self._folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            part.write_bytes(data)
            part.rename(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
        with self._lock:
            self._written += len(data)
            if self._written >= self._step:
                self._written = 0
                self._shrink()

    def drop(self, name: str) -> None:
        """Forget a name."""
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def _shrink(self) -> None:
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                with contextlib.suppress(OSError):
                    about = entry.stat()
                    found.append((about.st_mtime, about.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit - self._step:
                return
            with contextlib.suppress(OSError):
                Path(path).unlink()
            total -= size
