"""Hash sets and rows of `images` that the tests of match share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.ids import image_id
from pipeline.core.tables import IMAGES

U64 = npt.NDArray[np.uint64]


def balanced(rng: np.random.Generator, rows: int, bits: int = 64) -> npt.NDArray[np.uint8]:
    """Random hashes with as many ones as zeros, packed: uint8 [rows, bits / 8]."""
    ones = np.argpartition(rng.random((rows, bits)), bits // 2, axis=1)[:, : bits // 2]
    unpacked = np.zeros((rows, bits), dtype=np.uint8)
    np.put_along_axis(unpacked, ones, 1, axis=1)
    return np.packbits(unpacked, axis=1)


def balanced64(rng: np.random.Generator, rows: int) -> U64:
    return balanced(rng, rows).view(np.uint64).ravel()


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
