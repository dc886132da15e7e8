"""64-bit keys of ids and texts, and runs of equal keys in sorted arrays."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import ContractError
from pipeline.core.ids import ID_BYTES
from pipeline.core.jit import kernel
from pipeline.core.strings import Bytes, Ends, views

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_SIGN = np.uint64(1 << 63)


def halves(ids: pa.Array) -> tuple[Longs, Longs]:
    """16-byte ids without nulls as two int64 each that sort as the bytes do.

    Raises ContractError when a value is not 16 bytes long.
    """
    rows = len(ids)
    if rows == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + rows + 1]
    if ids.null_count or (np.diff(ends) != ID_BYTES).any():
        raise ContractError(f"an id is not {ID_BYTES} bytes long")
    words = np.frombuffer(data, ">u8", 2 * rows, int(ends[0])).reshape(rows, 2)
    hi, lo = (words[:, i].astype(np.uint64) ^ _SIGN for i in (0, 1))
    return hi.view(np.int64), lo.view(np.int64)


def hashed(texts: pa.Array) -> Longs:
    """A 64-bit hash of each string; 0 for null.

    Source: FNV-1a (Fowler, Noll, Vo; RFC 9923) with MurmurHash3's 64-bit finaliser (A. Appleby,
    public domain), as FNV alone leaves the low bits of short texts poorly mixed.
    """
    ends, data = views(texts)
    out = np.empty(len(texts), np.uint64)
    _hash(np.ascontiguousarray(ends), data, out)
    if texts.null_count:
        out[texts.is_null().to_numpy(zero_copy_only=False)] = 0
    return out.view(np.int64)


@kernel
def _hash(ends: Ends, data: Bytes, out: npt.NDArray[np.uint64]) -> None:
    for i in range(len(out)):
        h = np.uint64(0xCBF29CE484222325)
        for j in range(ends[i], ends[i + 1]):
            h = (h ^ np.uint64(data[j])) * np.uint64(0x100000001B3)
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xC4CEB9FE1A85EC53)
        out[i] = h ^ (h >> np.uint64(33))


def mixed(*values: Longs) -> Longs:
    """One hash of several integers a row, in their order (MurmurHash3's finaliser after each)."""
    h = np.zeros(len(values[0]), np.uint64)
    for value in values:
        h = (h ^ value.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(33)
    return h.view(np.int64)


def modulo(keys: Longs, buckets: int) -> npt.NDArray[np.int32]:
    """A bucket from 0 to buckets - 1 of each key."""
    return (keys.view(np.uint64) % np.uint64(buckets)).astype(np.int32)


def starts(*sorted_keys: npt.NDArray[np.generic]) -> Flags:
    """True at the first row of each run of equal keys."""
    rows = len(sorted_keys[0])
    first = np.zeros(rows, np.bool_)
    first[:1] = True
    for key in sorted_keys:
        first[1:] |= key[1:] != key[:-1]
    return first


def distinct(groups: Longs, values: Longs) -> tuple[Longs, Longs]:
    """The distinct (group, value), sorted."""
    order = np.lexsort((values, groups))
    groups, values = groups[order], values[order]
    first = starts(groups, values)
    return groups[first], values[first]


def contains(sorted_keys: Longs, keys: Longs) -> Flags:
    """Which keys are among the sorted ones."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found: Flags = sorted_keys[at] == keys
    return found


def text_ranks(texts: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Strings as ranks among the distinct ones in code point order, nulls last; and those, with
    a null appended. Taking the ranks from them gives the strings back."""
    coded = texts.dictionary_encode()
    values = coded.dictionary
    order = np.array(sorted(range(len(values)), key=values.to_pylist().__getitem__), np.int64)
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = len(order)
    codes = coded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)
    return rank[codes], pa.concat_arrays([values.take(pa.array(order)), pa.nulls(1, pa.string())])
