"""Chunks: consecutive samples of one shard, what an order is made of and a fetch asks for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

# Selections are bytes of eight samples, and a chunk starts with one.
_GRAIN = 8
_SMALLEST, _MOST_CHUNKS = 64, 1 << 20


@dataclass(frozen=True)
class Chunks:
    """All chunks of a release, in release order.

    per_chunk: samples of a chunk; the last one of a shard may have fewer.
    shard: int32 [chunks]. first: int32 [chunks], row of its first sample in the shard.
    rows: int32 [chunks], its samples.
    """

    per_chunk: int
    shard: I32
    first: I32
    rows: I32

    def __len__(self) -> int:
        return len(self.shard)


def chunk_samples(samples: int) -> int:
    """How many samples make a chunk unless one says so: 64, or in very large releases the power of
    two with which there are no more than about a million chunks, so that a plan stays quick."""
    size = _SMALLEST
    while samples > size * _MOST_CHUNKS:
        size *= 2
    return size


def cut(samples: I64, per_chunk: int) -> Chunks:
    """The chunks of shards that have so many samples.

    Raises ValueError unless `per_chunk` is a positive multiple of 8.
    """
    if per_chunk <= 0 or per_chunk % _GRAIN:
        raise ValueError(f"chunk_samples is {per_chunk}, not a positive multiple of {_GRAIN}")
    counts = -(-samples // per_chunk)
    shard = np.repeat(np.arange(len(samples), dtype=np.int32), counts)
    number = np.arange(len(shard)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * per_chunk
    rows = np.minimum(per_chunk, samples[shard] - first)
    return Chunks(per_chunk, shard, first.astype(np.int32), rows.astype(np.int32))
