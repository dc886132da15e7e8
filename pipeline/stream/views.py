"""Views: a release seen through a selection, without a tar being written or read.

A view file is one line of JSON and then one bit per sample, 1 for selected, in release order; each
shard's bits start at a byte, least significant first. 125 MB for a billion samples.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest
from pipeline.core.storage import file_system
from pipeline.stream.chunks import I32, I64, Chunks

U8 = npt.NDArray[np.uint8]

FORMAT = "pairmill-view-1"
_MAX_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class View:
    """A release and the selected samples of it.

    root: where the release is, as fsspec takes it.
    bits: uint8, one bit per sample as in a view file; None selects all.
    condition: how it was chosen, in words or SQL; informative only.
    """

    root: str
    manifest: Manifest
    bits: U8 | None = None
    condition: str = ""

    @property
    def id(self) -> str:
        """Names the selected samples: 32 hex digits; equal for equal content and selection."""
        whole = hashlib.sha256(self.manifest.id.encode())
        if self.bits is not None:
            whole.update(self.bits.data)
        return whole.hexdigest()[:32]

    @property
    def samples(self) -> int:
        """Selected samples."""
        if self.bits is None:
            return self.manifest.samples
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    def live(self, chunks: Chunks) -> I32:
        """Selected samples of each chunk: int32 [chunks]."""
        if self.bits is None:
            return chunks.rows
        starts = byte_starts(self.manifest)[chunks.shard] + chunks.first // 8
        if not len(starts):
            return chunks.rows
        # Bits beyond a shard's last sample are 0, so whole bytes may be counted.
        counts = np.bitwise_count(self.bits)
        summed: I32 = np.add.reduceat(counts, starts, dtype=np.int32)
        return summed

    def rows(self, shard: int, first: int, count: int, starts: I64) -> I32:
        """Rows first <= i < first + count of a shard that are selected, ascending.

        first: a multiple of 8. starts: `byte_starts` of the manifest.
        """
        if self.bits is None:
            return np.arange(first, first + count, dtype=np.int32)
        at = int(starts[shard]) + first // 8
        some = self.bits[at : at + -(-count // 8)]
        chosen = np.flatnonzero(np.unpackbits(some, count=count, bitorder="little"))
        return (chosen + first).astype(np.int32)


def byte_starts(manifest: Manifest) -> I64:
    """Where each shard's bits start in a view: int64 [shards + 1], in bytes."""
    sizes = -(-manifest.sizes // 8)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def whole(root: str) -> View:
    """A view of all samples. Raises InputError when `root` is no release."""
    fs, path = file_system(root)
    return View(root, release.load(fs, path))


def select(root: str, condition: str) -> View:
    """The samples whose metadata fulfil an SQL condition, e.g. "width >= 512 AND caption_lang =
    'ko'", over the columns of the sample tables. No tar is read.

    Raises InputError when the condition cannot be evaluated, naming the columns there are, or when
    there is no release. Cost: one scan of the columns that the condition names.
    """
    fs, path = file_system(root)
    manifest = release.load(fs, path)
    starts = byte_starts(manifest)
    bits = np.zeros(int(starts[-1]), dtype=np.uint8)
    for shard, rows in _chosen(fs, path, manifest, condition):
        flags = np.zeros(manifest.shards[shard].samples, dtype=np.uint8)
        flags[rows] = 1
        bits[starts[shard] : starts[shard + 1]] = np.packbits(flags, bitorder="little")
    return View(root, manifest, bits, condition)


def save(view: View, url: str) -> None:
    """Write a view file. A view of all samples has every bit set."""
    bits = view.bits
    if bits is None:
        bits = np.concatenate([_ones(s.samples) for s in view.manifest.shards])
    head = {
        "format": FORMAT,
        "release": view.manifest.id,
        "condition": view.condition,
        "samples": view.samples,
        "sha256": hashlib.sha256(bits.data).hexdigest(),
    }
    fs, path = file_system(url)
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    with fs.open(path, "wb") as file:
        file.write(json.dumps(head).encode() + b"\n")
        file.write(bits.tobytes())


def load(root: str, url: str) -> View:
    """The view in a file, of the release at `root`. Raises InputError when the file is missing or
    damaged, or is a view of another release."""
    manifest = whole(root).manifest
    fs, path = file_system(url)
    try:
        data = fs.cat_file(path)
    except FileNotFoundError:
        raise InputError(f"there is no view at {url}") from None
    head, bits = _parsed(data, url)
    if head["release"] != manifest.id:
        raise InputError(
            f"{url} is a view of release {head['release'][:16]}, {root} is {manifest.id[:16]}; "
            "select again from this release"
        )
    if len(bits) != byte_starts(manifest)[-1]:
        raise InputError(f"{url} has {len(bits)} bytes of bits, not those of its release")
    return View(root, manifest, bits, str(head["condition"]))


def _parsed(data: bytes, url: str) -> tuple[dict[str, Any], U8]:
    line = data[:_MAX_HEADER_BYTES].partition(b"\n")[0]
    try:
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise InputError(f"{url} has the format {head['format']!r}; this reads {FORMAT!r}")
        bits = np.frombuffer(data, np.uint8, offset=len(line) + 1)
        if hashlib.sha256(bits.data).hexdigest() != head["sha256"]:
            raise InputError(f"{url} is damaged: its bits are not those written")
        return {"release": str(head["release"]), "condition": head.get("condition", "")}, bits
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise InputError(f"{url} is no view file") from None


def _ones(samples: int) -> U8:
    return np.packbits(np.ones(samples, dtype=np.uint8), bitorder="little")


def _chosen(
    fs: fsspec.AbstractFileSystem, root: str, manifest: Manifest, condition: str
) -> Iterator[tuple[int, I64]]:
    """(shard, chosen rows) of every shard with some."""
    import duckdb

    numbers = {
        release.sidecar_path(s.path).rsplit("/", 1)[1]: i for i, s in enumerate(manifest.shards)
    }
    is_local = "file" in fs.protocol or "local" in fs.protocol
    prefix = (
        "" if is_local else f"{fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]}://"
    )
    pattern = prefix + posixpath.join(root, release.META, "*.parquet")
    with duckdb.connect() as connection:
        if not is_local:
            connection.register_filesystem(fs)
        query = (
            "SELECT filename, list(file_row_number ORDER BY file_row_number) AS rows "
            "FROM read_parquet($1, filename = true, file_row_number = true) "
            f"WHERE ({condition}) GROUP BY filename"
        )
        try:
            found = connection.sql(query, params=[pattern]).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"condition {condition!r}: {str(error).splitlines()[0]}") from None
    for name, rows in zip(found["filename"].to_pylist(), found["rows"], strict=True):
        shard = numbers.get(name.rsplit("/", 1)[-1])
        if shard is None:
            raise InputError(f"{name} does not belong to the release at {root}")
        yield shard, rows.values.to_numpy(zero_copy_only=False).astype(np.int64)
