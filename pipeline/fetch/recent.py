"""A cache of a total size, which keeps the values that were used last."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were used last, of a total size. For use by several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """A value, which is used last from now on."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, size: int) -> list[K]:
        """Add or replace a value of so many bytes; the keys of those that had to go for it."""
        with self._lock:
            self._free += self._values.pop(key, (value, 0))[1] - size
            gone = []
            while self._free < 0 and self._values:
                other, (_, freed) = self._values.popitem(last=False)
                self._free += freed
                gone.append(other)
            self._values[key] = value, size
            return gone
