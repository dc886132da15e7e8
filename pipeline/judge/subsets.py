"""Subsets of a view by a hash of each sample's key: nested, and the same on every machine."""

import posixpath
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.storage import file_system
from pipeline.stream.permute import derive_key, mix
from pipeline.stream.views import View, byte_starts

U64 = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.bool_]


def selected(view: View) -> Bits:
    """Whether each sample of the release is in the view: bool [samples], in release order."""
    if view.bits is None:
        return np.ones(view.manifest.samples, np.bool_)
    starts = byte_starts(view.manifest)
    parts = [
        np.unpackbits(view.bits[start:stop], count=int(size), bitorder="little")
        for start, stop, size in zip(starts, starts[1:], view.manifest.sizes, strict=False)
    ]
    return np.concatenate(parts).astype(np.bool_) if parts else np.zeros(0, np.bool_)


def of_flags(view: View, flags: Bits, condition: str) -> View:
    """The samples with a flag, bool [samples], as a view of the same release."""
    ends = np.cumsum(view.manifest.sizes)
    parts = [np.packbits(part, bitorder="little") for part in np.split(flags, ends[:-1])]
    bits = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    return replace(view, bits=bits, condition=condition)


def subset(view: View, samples: int, ids: U64, salt: str) -> View:
    """The `samples` of the view that come first by a hash of salt and id.

    A smaller subset of the same salt lies inside a larger one, and which samples it has does not
    depend on the others in the release. ids: of `ids_of`. Raises InputError when the view has
    fewer. Cost: a sort of 8 bytes a selected sample.
    """
    rows = np.flatnonzero(selected(view))
    if samples > len(rows):
        raise InputError(f"a view of {len(rows):,} samples has no {samples:,}")
    # The ids are hashes already; the salt gives another order of them.
    order = np.argsort(mix(ids[rows] ^ np.uint64(derive_key(salt))), kind="stable")
    flags = np.zeros(view.manifest.samples, np.bool_)
    flags[rows[order[:samples]]] = True
    return of_flags(view, flags, f"{samples} by hash {salt!r} of: {view.condition or 'all'}")


def ids_of(view: View) -> U64:
    """The first 8 bytes of each sample's pair_id, in release order: uint64 [samples]. Cost: a read
    of one column of the sample tables."""
    fs, root = file_system(view.root)
    found = []
    for shard in view.manifest.shards:
        path = posixpath.join(root, release.sidecar_path(shard.path))
        try:
            with fs.open(path, "rb") as file:
                ids = pq.read_table(file, columns=["pair_id"])["pair_id"].combine_chunks()
        except FileNotFoundError:
            raise InputError(f"{view.root} lacks {release.sidecar_path(shard.path)}") from None
        raw = np.frombuffer(b"".join(ids.to_pylist()), "<u8").reshape(len(ids), -1)
        found.append(raw[:, 0].astype(np.uint64))
    return np.concatenate(found) if found else np.zeros(0, np.uint64)
