"""Hashes and pictures as the web gives them, for the benchmarks of `match`: any row by its number.

Hashes have 32 ones in 64 bits. 5% of the pictures are there under a second URL. 30% of the rest are
copies, in clusters from two up (a power law), each 2 or 4 bits from its original. 1% of the
originals share the key of one table, 21 bits.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.jit import allocating_kernel, kernel
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.match.blocks import make_plan
from pipeline.match.kernel import ones

REPEATED_SHARE = 0.05
COPY_SHARE = 0.3
HOT_SHARE = 0.01
FILE_ROWS = 500_000

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


@kernel
def mix(value: np.uint64) -> np.uint64:
    """SplitMix64 (Steele, Lea, Flood 2014)."""
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def _original(
    number: np.uint64, hot_below: np.uint64, mask: np.uint64, key: np.uint64
) -> np.uint64:
    """A random word of 32 ones; one with the key, for numbers that are hot."""
    seed = mix(number)
    is_hot = mix(seed) < hot_below
    word = seed
    while True:
        seed = mix(seed)
        word = seed & ~mask | key if is_hot else seed
        if ones(word) == 32:
            return word


@kernel
def _changed(word: np.uint64, seed: np.uint64) -> np.uint64:
    """The word with one or two of its ones and as many of its zeros changed."""
    changes = np.uint64(1) + (seed >> np.uint64(63))
    touched = np.uint64(0)
    for wanted in range(2):
        left = changes
        while left > np.uint64(0):
            seed = mix(seed)
            bit = np.uint64(1) << (seed >> np.uint64(58))
            if touched & bit == np.uint64(0) and (word & bit != np.uint64(0)) == (wanted == 1):
                touched |= bit
                left -= np.uint64(1)
    return word ^ touched


@kernel
def _hashes(
    numbers: Numbers,
    originals: int,
    hot_below: np.uint64,
    mask: np.uint64,
    key: np.uint64,
    words: U64,
    of: Numbers,
) -> None:
    for i in range(len(numbers)):
        number = np.uint64(numbers[i])
        if numbers[i] < originals:
            of[i] = numbers[i]
            words[i] = _original(number, hot_below, mask, key)
            continue
        seed = mix(number ^ np.uint64(0x5DEECE66D))
        share = float(seed >> np.uint64(11)) / 9007199254740992.0
        of[i] = min(np.int64(share**1.5 * originals), originals - 1)
        original = _original(np.uint64(of[i]), hot_below, mask, key)
        words[i] = _changed(original, mix(seed))


def hashes(numbers: Numbers, total: int) -> tuple[U64, Numbers]:
    """hash64 of so many of `total` fingerprints, and the number each is a copy of, or its own."""
    plan = make_plan(4, 6)
    mask = plan.mask_array[0]
    key = mask & np.uint64(0x5A5A5A5A5A5A5A5A)
    words, of = np.empty(len(numbers), np.uint64), np.empty(len(numbers), np.int64)
    hot_below = np.uint64(int(HOT_SHARE * 2**64))
    _hashes(numbers, round(total * (1 - COPY_SHARE)), hot_below, mask, key, words, of)
    return words, of


def distinct_hashes(count: int) -> U64:
    """The distinct hash64 of `count` fingerprints, sorted. Memory: some 24 bytes each."""
    found = [
        hashes(np.arange(low, min(low + FILE_ROWS, count)), count)[0]
        for low in range(0, count, FILE_ROWS)
    ]
    return np.unique(np.concatenate(found))


def write_images(store: Store, pictures: int) -> int:
    """Rows of `images`; how many fingerprints are copies, whose edges must be found."""
    fingerprints = round(pictures * (1 - REPEATED_SHARE))
    for part, low in enumerate(range(0, pictures, FILE_ROWS)):
        numbers = np.arange(low, min(low + FILE_ROWS, pictures))
        with store.publish_part(IMAGES, part) as sink:
            sink.write(_images(numbers, fingerprints))
    return fingerprints - round(fingerprints * (1 - COPY_SHARE))


def _images(numbers: Numbers, fingerprints: int) -> pa.Table:
    again = (_mixed(numbers, 7) % np.uint64(fingerprints)).astype(np.int64)
    named = np.where(numbers < fingerprints, numbers, again)
    hash64, of = hashes(named, fingerprints)
    # Copies differ in a few of the 256 bits.
    hash256 = [_mixed(of, salt) for salt in range(4)]
    hash256[0] = hash256[0] ^ (_mixed(named, 6) & np.uint64(0xFFFF))
    rows = len(numbers)
    given = {
        "image_id": _binary([_mixed(numbers, 8), _mixed(numbers, 9)]),
        "fingerprint": _binary([_mixed(named, 10), _mixed(named, 11)]),
        "part": pa.array(np.zeros(rows, np.int32)),
        "status": pa.repeat("ok", rows),
        "consent": pa.repeat("allowed", rows),
        "fetch_ms": pa.array(np.ones(rows, np.int32)),
        "fetched_at": pa.array(np.zeros(rows, np.int64)),
        "downloads": pa.array(np.ones(rows, np.int32)),
        "original_width": pa.array(np.full(rows, 640, np.int32)),
        "original_height": pa.array(np.full(rows, 480, np.int32)),
        "texture": pa.array(np.full(rows, 80, np.int32)),
        "hash64": pa.array(hash64.view(np.int64)),
        "hash256": _binary(hash256),
    }
    columns = [given.get(f.name, pa.nulls(rows, f.type)) for f in IMAGES.schema]
    return pa.Table.from_arrays(columns, schema=IMAGES.schema)


@allocating_kernel
def _mix_all(values: U64, salt: np.uint64) -> U64:
    found = np.empty_like(values)
    for i in range(len(values)):
        found[i] = mix(values[i] ^ mix(salt))
    return found


def _mixed(numbers: Numbers, salt: int) -> U64:
    return _mix_all(numbers.view(np.uint64), np.uint64(salt))


def _binary(words: list[U64]) -> pa.Array:
    width = 8 * len(words)
    rows = len(words[0])
    ends = np.arange(0, width * rows + 1, width, dtype=np.int32)
    data = np.ascontiguousarray(np.stack(words, axis=1))
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(ends), pa.py_buffer(data)])
