"""One shard in one pass: tar, index, per-sample CRC-32C and the SHA-256 of the whole."""

import hashlib
from typing import IO

import google_crc32c
import numpy as np
import pyarrow as pa

from pipeline.core import ustar
from pipeline.core.release import INDEX, SUFFIXES

_DOTTED = tuple(f".{suffix}".encode() for suffix in SUFFIXES)
_SUFFIX_SUMS = tuple(sum(suffix) for suffix in _DOTTED)
_FLUSH_BYTES = 1 << 20


class ShardWriter:
    """Appends samples to a tar. Memory: about 1 MiB and 100 bytes per sample.

    The bytes depend on nothing but the samples and their order.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._offsets = [0]
        self._sizes: list[tuple[int, int, int]] = []
        self._crcs: list[int] = []

    def add(self, key: str, jpg: bytes, txt: bytes, json: bytes) -> None:
        """Append a sample.

        key: ASCII without dots, at most 95 characters: readers take all before the first dot for
        the key. Raises ValueError otherwise.
        """
        name = key.encode("ascii")
        if b"." in name or b"/" in name:
            raise ValueError(f"key {key!r} holds a dot or slash")
        key_sum = sum(name)
        pieces: list[bytes] = []
        for suffix, suffix_sum, data in zip(_DOTTED, _SUFFIX_SUMS, (jpg, txt, json), strict=True):
            pieces += (
                ustar.header(name + suffix, len(data), key_sum + suffix_sum),
                data,
                ustar.padding(len(data)),
            )
        sample = b"".join(pieces)
        self._crcs.append(google_crc32c.value(sample))
        self._sizes.append((len(jpg), len(txt), len(json)))
        self._offsets.append(self._offsets[-1] + len(sample))
        self._put(sample)

    def close(self) -> None:
        """End the archive and hand the last bytes to the file, which stays open."""
        self._put(ustar.END)
        self._flush()

    @property
    def samples(self) -> int:
        return len(self._crcs)

    @property
    def size(self) -> int:
        """Of the closed tar, in bytes."""
        return self._offsets[-1] + len(ustar.END)

    @property
    def sha256(self) -> str:
        """Of the closed tar, hex."""
        return self._sha256.hexdigest()

    def index(self) -> bytes:
        """The index file: records of `release.INDEX`."""
        records = np.zeros(len(self._offsets), dtype=INDEX)
        records["offset"] = self._offsets
        records["crc32c"][:-1] = self._crcs
        return records.tobytes()

    def layout(self) -> dict[str, pa.Array]:
        """Where everything is: the sidecar's columns from `offset` to `json_bytes`, in order."""
        offsets = np.asarray(self._offsets, np.int64)
        sizes = np.asarray(self._sizes, np.int64).reshape(-1, len(SUFFIXES))
        columns = {
            "offset": pa.array(offsets[:-1]),
            "bytes": pa.array(np.diff(offsets)),
            "crc32c": pa.array(np.asarray(self._crcs, np.uint32)),
        }
        at = offsets[:-1] + ustar.BLOCK
        for i, suffix in enumerate(SUFFIXES):
            columns[f"{suffix}_offset"] = pa.array(at)
            columns[f"{suffix}_bytes"] = pa.array(sizes[:, i])
            at = at + sizes[:, i] + -sizes[:, i] % ustar.BLOCK + ustar.BLOCK
        return columns

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._sha256.update(data)
        self._file.write(data)
        self._pending, self._pending_bytes = [], 0
