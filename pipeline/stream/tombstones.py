"""Keys of samples that must not be used any more, from the moment they are named."""

import posixpath
import threading
import time

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.storage import file_system

# How long a removal may go unseen by a run that is under way.
_LOOK_AGAIN_S = 60.0


class Tombstones:
    """A file of keys, one a line, looked at again every minute.

    url: the file, which must be there; empty for the release's own `.meta/tombstones.txt`, where it
    has one. Raises InputError when a file that was named is missing.
    """

    def __init__(self, root: str, url: str = "") -> None:
        self._is_named = bool(url)
        fs, path = file_system(url or root)
        self._fs = fs
        self._path = path if url else posixpath.join(path, release.TOMBSTONES)
        self._lock = threading.Lock()
        self._keys: frozenset[str] = frozenset()
        self._looked: float | None = None
        self.keys()

    def keys(self) -> frozenset[str]:
        """The keys as of the last minute."""
        with self._lock:
            if self._looked is None or time.monotonic() - self._looked > _LOOK_AGAIN_S:
                self._keys = self._read()
                self._looked = time.monotonic()
            return self._keys

    def _read(self) -> frozenset[str]:
        try:
            text = self._fs.cat_file(self._path).decode()
        except FileNotFoundError:
            if self._is_named:
                raise InputError(f"there are no tombstones at {self._path}") from None
            return frozenset()
        return frozenset(line.strip() for line in text.splitlines() if line.strip())
