"""The registry: hashes of all pictures of earlier releases, laid out so that a new run is matched
against them without reading them whole, and without moving them.

    registry.json                     this module's `Registry`: what counts is what it names
    <table>/<release>/00000.parquet   rows of ROW, sorted by `key`, in files by the key's first bits

There are four tables. `images` has every picture, keyed by the first 64 bits of its fingerprint;
`hash64_0` to `hash64_2` have the pictures with texture, one for each fingerprint of a release,
keyed by the hash whose bits are turned so that another third of them comes first. Two hashes within
r differ in at most floor(r / 3) bits of one of three blocks (the pigeonhole principle): so a new
hash meets all of them when it is looked up in each table with up to floor(r / 3) bits of the block
flipped. The flips are the new side's alone, and one layout serves every radius:

    radius 0 to 2: no flip, 3 look-ups; 3 to 5: one flip, 67; 6 to 8: two flips, 718.

Source: Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012.

A release is added by writing its files and then replacing registry.json in one rename. Files that
it does not name are what an interrupted addition left; the next addition of that release removes
them. Old files are never written again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.hash_files import VERSION_KEY, refuse_other_version
from pipeline.core.ids import HASH_VERSION
from pipeline.core.storage import Store
from pipeline.core.table_files import row_groups
from pipeline.core.tables import ID, column
from pipeline.match.blocks import HASH_BITS, U64

MANIFEST = "registry.json"
FORMAT = "pairmill-registry-1"
# Of one, a look-up reads the keys, and a hit what is told of its pictures.
ROW_GROUP_ROWS = 1 << 14

ROW = pa.schema(
    [
        column("key", pa.int64(), "what the table is sorted by: the turned bits, top bit inverted"),
        column("image_id", ID, "of the released picture"),
        column("fingerprint", ID, "equal for pictures that are the same for `match`"),
        column("hash64", pa.int64(), "DCT hash, 64 bits as signed"),
        column("hash256", pa.binary(), "PDQ, 256 bits as 32 bytes"),
        column("texture", pa.int32(), "0 (flat) to 100"),
        column("aspect", pa.float64(), "width / height, upright"),
    ],
    metadata={VERSION_KEY: HASH_VERSION.encode()},
)

_TOP = np.uint64(1 << (HASH_BITS - 1))


@dataclass(frozen=True)
class KeyTable:
    """A table of the registry.

    column: what its words are made of: `fingerprint` or `hash64`.
    start, bits: of the words, which bits (from the top) are the key; a word is turned left by
    `start`, so that its key comes first.
    """

    name: str
    column: str
    start: int
    bits: int

    @property
    def shift(self) -> int:
        """By how much a turned word is shifted right to give its key."""
        return HASH_BITS - self.bits

    def words(self, values: pa.Array) -> U64:
        """The turned words of values of `column`: uint64 [rows]."""
        if self.column == "fingerprint":
            heads = np.frombuffer(b"".join(v[:8] for v in values.to_pylist()), ">u8")
            return heads.astype(np.uint64)
        signed: npt.NDArray[np.int64] = values.to_numpy(zero_copy_only=False)
        return self.turned(spread(signed.view(np.uint64)))

    def turned(self, words: U64) -> U64:
        """Words turned left by `start`."""
        if not self.start:
            return words
        left: U64 = (words << np.uint64(self.start)) | (words >> np.uint64(HASH_BITS - self.start))
        return left

    def flips(self, radius: int) -> int:
        """Bits of the key that may differ in the one table that must find a pair."""
        return radius // len(HASH_TABLES) if self.column == "hash64" else 0


IMAGES_TABLE = KeyTable("images", "fingerprint", 0, HASH_BITS)
HASH_TABLES = (
    KeyTable("hash64_0", "hash64", 0, 21),
    KeyTable("hash64_1", "hash64", 21, 21),
    KeyTable("hash64_2", "hash64", 42, 22),
)
TABLES = (IMAGES_TABLE, *HASH_TABLES)


def _spreading() -> U64:
    """[8, 256]: what each value of each byte of a hash adds to its spread form."""
    found = np.zeros((8, 256), np.uint64)
    for bit in range(HASH_BITS):
        # Bit `bit` of the result is this one: neighbouring coefficients of the DCT are correlated,
        # and a block of correlated bits makes long buckets.
        byte, place = divmod(bit * 37 % HASH_BITS, 8)
        has_bit = (np.arange(256) >> place) & 1
        found[byte] |= has_bit.astype(np.uint64) << np.uint64(bit)
    return found


_SPREADING = _spreading()


def spread(hashes: U64) -> U64:
    """Hashes with their bits in another order; part of the layout, so never to be changed."""
    found = np.zeros(len(hashes), np.uint64)
    for byte in range(8):
        found |= _SPREADING[byte][(hashes >> np.uint64(8 * byte)) & np.uint64(255)]
    return found


def as_key(words: U64) -> npt.NDArray[np.int64]:
    """Words as signed numbers of the same order, as Parquet and Spark sort."""
    return (words ^ _TOP).view(np.int64)


def as_words(keys: npt.NDArray[np.int64]) -> U64:
    """Undo `as_key`."""
    return keys.view(np.uint64) ^ _TOP


def top_bits(words: U64, bits: int) -> npt.NDArray[np.int64]:
    """The first `bits` bits of each word, as a number; zeros for none."""
    if not bits:
        return np.zeros(len(words), np.int64)
    return (words >> np.uint64(HASH_BITS - bits)).astype(np.int64)


def flip_masks(bits: int, flips: int) -> U64:
    """All numbers of `bits` bits with at most `flips` ones, zero first."""
    chosen = (c for count in range(flips + 1) for c in combinations(range(bits), count))
    return np.array([sum(1 << bit for bit in some) for some in chosen], np.uint64)


@dataclass(frozen=True)
class Release:
    """A release that the registry holds.

    id: of its manifest, which names its content. pictures: rows of its `images`.
    rows: table -> rows of each file; as many files as this list is long, a power of two.
    """

    name: str
    id: str
    pictures: int
    rows: dict[str, list[int]]

    def file(self, table: KeyTable, bucket: int) -> str:
        """Path of a file, relative to the registry."""
        return f"{folder_of(table, self.id)}/{bucket:05d}.parquet"

    def files(self, table: KeyTable, prefix: int = 0, bits: int = 0) -> Iterator[str]:
        """Files of a table that may hold keys with this prefix of so many bits."""
        rows = self.rows[table.name]
        own = len(rows).bit_length() - 1
        if own <= bits:
            first, last = prefix >> (bits - own), (prefix >> (bits - own)) + 1
        else:
            first, last = prefix << (own - bits), (prefix + 1) << (own - bits)
        return (self.file(table, bucket) for bucket in range(first, last) if rows[bucket])


@dataclass(frozen=True)
class Registry:
    """What a registry holds. store: its folder. releases: in the order they were added."""

    store: Store
    releases: tuple[Release, ...] = ()

    @property
    def pictures(self) -> int:
        return sum(release.pictures for release in self.releases)

    def with_release(self, release: Release) -> "Registry":
        """Publish a release whose files are written; the registry with it."""
        grown = Registry(self.store, (*self.releases, release))
        self.store.write_json(
            MANIFEST,
            {
                "format": FORMAT,
                "hash_version": HASH_VERSION,
                "releases": [asdict(r) for r in grown.releases],
            },
        )
        return grown


def folder_of(table: KeyTable, release_id: str) -> str:
    """Where a release's files of a table lie, relative to the registry."""
    return f"{table.name}/{release_id[:32]}"


def is_registry(folder: str) -> bool:
    """True when a folder is a registry of this kind."""
    return Store(folder).exists(MANIFEST)


def load(folder: str, setting: str = "match.registry") -> Registry:
    """The registry in a folder. Raises InputError when there is none, when it is damaged, or when
    its hashes are of another version.

    setting: what named the folder, for the message.
    """
    store = Store(folder)
    try:
        if not store.exists(MANIFEST):
            raise InputError(
                f"no registry at {setting} = {folder}: it has no {MANIFEST}; `make register` adds "
                "a finished release to one"
            )
        data = store.read_json(MANIFEST)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{setting} = {folder} cannot be read: {error}") from None
    return _parsed(store, data, f"{setting} = {folder}")


def open_or_new(folder: str, setting: str) -> Registry:
    """The registry in a folder, an empty one where nothing is yet. Raises as `load`."""
    return load(folder, setting) if is_registry(folder) else Registry(Store(folder))


def _parsed(store: Store, data: Any, where: str) -> Registry:
    try:
        if data["format"] != FORMAT:
            raise InputError(f"{where} is of format {data['format']!r}; this reads {FORMAT!r}")
        version = str(data["hash_version"])
        releases = tuple(
            Release(str(r["name"]), str(r["id"]), int(r["pictures"]), _rows(r["rows"]))
            for r in data["releases"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: {MANIFEST} is damaged: {error!r}") from None
    refuse_other_version(
        {VERSION_KEY: version.encode()},
        where,
        "start a registry in another folder, and add the releases to it out of runs whose pictures "
        "this version downloaded or adopted",
    )
    return Registry(store, releases)


def _rows(data: Any) -> dict[str, list[int]]:
    rows = {table.name: [int(n) for n in data[table.name]] for table in TABLES}
    if any(len(r).bit_count() != 1 for r in rows.values()):
        raise ValueError("a table's files are not a power of two")
    return rows


def keyed(table: KeyTable, rows: pa.RecordBatch, bucket_bits: int) -> pa.RecordBatch:
    """Rows of ROW but `key`, with `key` in front and `bucket` behind."""
    words = table.words(rows.column(table.column))
    buckets = top_bits(words, bucket_bits).astype(np.int32)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(as_key(words)),
            *(rows.column(name) for name in ROW.names[1:]),
            pa.array(buckets),
        ],
        names=[*ROW.names, "bucket"],
    )


def write_file(store: Store, path: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Write one file of a table from rows of ROW in order of `key`; how many there are.

    Memory: one row group.
    """
    total = 0
    rows = (batch.select(ROW.names).cast(ROW) for batch in batches)
    with store.publish(path) as file, pq.ParquetWriter(file, ROW, compression="zstd") as writer:
        for group in row_groups(rows, ROW_GROUP_ROWS):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            total += group.num_rows
    return total
