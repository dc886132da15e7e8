"""Hash sets and rows of `images` that the tests of match share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.ids import image_id
from pipeline.core.tables import IMAGES
from pipeline.match.blocks import BlockPlan

U64 = npt.NDArray[np.uint64]


def balanced(rng: np.random.Generator, rows: int, bits: int = 64) -> npt.NDArray[np.uint8]:
    """Random hashes with as many ones as zeros, packed: uint8 [rows, bits / 8]."""
    ones = np.argpartition(rng.random((rows, bits)), bits // 2, axis=1)[:, : bits // 2]
    unpacked = np.zeros((rows, bits), dtype=np.uint8)
    np.put_along_axis(unpacked, ones, 1, axis=1)
    return np.packbits(unpacked, axis=1)


def balanced64(rng: np.random.Generator, rows: int) -> U64:
    return balanced(rng, rows).view(np.uint64).ravel()


KINDS = (
    "random",  # balanced words
    "clustered",  # a few centres
    "skewed",  # only few bits ever differ, so that all share buckets
    "one bucket",  # all equal in the first table's key
    "spoiled",  # twins that differ in as many blocks as can be
    "light",  # words of constant small weight: near each other by chance
    "hot",  # one key holds a share of the rows
)


def make(kind: str, rng: np.random.Generator, rows: int, radius: int, plan: BlockPlan) -> U64:
    """Up to that many distinct hashes of one of KINDS, in random order."""
    if kind == "random":
        hashes = balanced64(rng, rows)
    elif kind == "clustered":
        hashes = clustered(rng, rows, spread=radius)
    elif kind == "skewed":
        hashes = skewed(rng, rows, free_bits=12)
    elif kind == "one bucket":
        hashes = clustered(rng, rows, spread=radius) & ~plan.mask_array[0]
    elif kind == "light":
        hashes = np.zeros(rows, np.uint64)
        for _ in range(3):
            hashes |= np.uint64(1) << rng.integers(0, 64, rows).astype(np.uint64)
    elif kind == "hot":
        hashes = balanced64(rng, rows)
        hot = rng.random(rows) < 0.3
        hashes[hot] &= ~plan.mask_array[-1]
    else:
        hashes = _spoiled(rng, rows, radius, plan)
    return rng.permutation(np.unique(hashes))


def _spoiled(rng: np.random.Generator, rows: int, radius: int, plan: BlockPlan) -> U64:
    base = balanced64(rng, max(rows // 2, 1))
    twin = base.copy()
    for mask in plan.mask_array[:: max(1, len(plan.masks) // (radius + 1))][: radius + 1]:
        bits = [b for b in range(64) if int(mask) >> b & 1]
        twin = twin ^ (np.uint64(1) << np.uint64(rng.choice(bits)))
    return np.concatenate([base, twin])


def clustered(rng: np.random.Generator, rows: int, spread: int) -> U64:
    """A few centres, each row some changed bits away from one."""
    centres = balanced64(rng, 5)
    hashes = centres[rng.integers(0, 5, rows)]
    for _ in range(spread):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, rows).astype(np.uint64))
    return np.unique(hashes)


def skewed(rng: np.random.Generator, rows: int, free_bits: int) -> U64:
    """One centre; only some bits ever differ: a hot bucket in most tables."""
    positions = rng.permutation(64)[:free_bits]
    hashes = np.repeat(balanced64(rng, 1), rows)
    for position in positions:
        change = rng.integers(0, 2, rows).astype(np.uint64)
        hashes = hashes ^ (change << np.uint64(position))
    return np.unique(hashes)


def flip(value: int, bits: tuple[int, ...]) -> int:
    """The hash with these bits changed."""
    for bit in bits:
        value ^= 1 << bit
    return value


def flip256(value: bytes, count: int) -> bytes:
    """The hash with its first `count` bits changed."""
    return (int.from_bytes(value, "little") ^ ((1 << count) - 1)).to_bytes(32, "little")


def picture(
    name: str, hash64: int, hash256: bytes, fingerprint: bytes | None = None, **other: Any
) -> dict[str, Any]:
    """A row of `images` with status ok; hash64 unsigned."""
    row: dict[str, Any] = {f.name: None for f in IMAGES.schema}
    row |= {
        "image_id": image_id(name),
        "part": 0,
        "status": "ok",
        "consent": "allowed",
        "fetch_ms": 1,
        "fetched_at": 0,
        "downloads": 1,
        "original_width": 640,
        "original_height": 480,
        "hash64": int(np.uint64(hash64).view(np.int64)),
        "hash256": hash256,
        "texture": 80,
        "fingerprint": fingerprint or image_id("picture of " + name),
    }
    return row | other


def images_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=IMAGES.schema)
