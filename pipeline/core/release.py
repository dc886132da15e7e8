"""Layout of a release: what lies where, and the manifest that names it all.

    00000.tar ...          WebDataset tars, nothing else about them
    sizes.json             {"00000.tar": samples}
    README.md              dataset card
    .meta/manifest.json    this module's `Manifest`
    .meta/00000.idx        offset and CRC-32C of each sample (`INDEX`), what a reader needs
    .meta/tombstones.txt   keys of samples that readers leave out; absent while there are none
    .meta/diff.json, .md   added and removed since the version before; of a dataset that grows
    .meta/diff/changes.parquet    the same by sample
    .meta/takedowns/       receipts of what was masked, and when; absent while there are none
    .meta/00000.parquet    one row per sample (`SIDECAR` and metadata)
    .meta/coyo/00000.parquet    one row per sample: COYO-700M's columns (`shards.coyo`)

Everything but tars, sizes and card is in a hidden folder: a Parquet or index file that Hugging
Face `datasets` can see beside the tars is taken for data.
"""

import builtins
import hashlib
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.tables import ID, column

META = ".meta"
MANIFEST = f"{META}/manifest.json"
COYO = f"{META}/coyo"
# Keys of samples to be masked, one a line; the only file of a release that may change.
TOMBSTONES = f"{META}/tombstones.txt"
# Among a manifest's stages: ids of the releases whose shards follow one another in this one.
GROWN_FROM = "grown_from"
# What is other than in the version before, of a dataset that grows: in numbers, in words, and a row
# for each sample.
DIFF = f"{META}/diff.json"
DIFF_TEXT = f"{META}/diff.md"
DIFF_TABLE = f"{META}/diff/changes.parquet"
# Receipts of what was masked; the only files that may be added.
TAKEDOWNS = f"{META}/takedowns"
SIZES = "sizes.json"
CARD = "README.md"
FORMAT = "pairmill-release-2"
# A record of an index file: offset of the sample's first header in the tar, and the CRC-32C of its
# bytes, headers and padding included. One more record ends it: the end of the last sample, and 0.
INDEX = np.dtype([("offset", "<u8"), ("crc32c", "<u4")])
# Members of a sample, in the order they are stored in.
SUFFIXES = ("jpg", "txt", "json")

# Columns every sidecar starts with; metadata columns of the pair follow.
SIDECAR = pa.schema(
    [
        column("key", pa.string(), "name of the sample's members: pair_id in hex"),
        column("pair_id", ID, "of the pair"),
        column("image_id", ID, "of its image"),
        column("offset", pa.int64(), "of the sample's first header in the tar", unit="bytes"),
        column("bytes", pa.int64(), "from there to the next sample", unit="bytes"),
        column("crc32c", pa.uint32(), "of those bytes, headers and padding included"),
        *(
            column(f"{suffix}_{what}", pa.int64(), f"{doc} of the .{suffix} member", unit="bytes")
            for suffix in SUFFIXES
            for what, doc in (("offset", "offset in the tar"), ("bytes", "size"))
        ),
    ]
)


def shard_name(shard: int, shards: int) -> str:
    """File name of a tar without its suffix: the number in five digits, or as many as are needed.

    All names of a release are equally long, so they sort by number.
    """
    return f"{shard:0{max(5, len(str(shards - 1)))}d}"


def index_path(tar: str) -> str:
    """Where the offsets of a tar are, relative to the release."""
    return f"{META}/{posixpath.splitext(tar)[0]}.idx"


def sidecar_path(tar: str) -> str:
    """Where the sample table of a tar is, relative to the release."""
    return f"{META}/{posixpath.splitext(tar)[0]}.parquet"


def coyo_path(tar: str) -> str:
    """Where COYO-700M's columns of a tar's samples are, relative to the release."""
    return f"{COYO}/{posixpath.splitext(tar)[0]}.parquet"


class ShardEntry(msgspec.Struct, frozen=True, gc=False):
    """One tar of a release. path: file name; sha256: of the tar, hex."""

    path: str
    samples: int
    bytes: int
    sha256: str


class _Stored(msgspec.Struct):
    """The manifest as it lies in its file; id, samples and bytes repeat what the shards say."""

    format: str
    id: str
    name: str
    version: str
    stages: dict[str, str]
    samples: int
    bytes: int
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True)
class Manifest:
    """What a release consists of.

    name: of the dataset. version: of the software that wrote it.
    stages: stage -> id of its configuration and inputs, for provenance; may be empty.
    shards: in order, without gaps.
    """

    name: str
    version: str
    stages: dict[str, str]
    shards: tuple[ShardEntry, ...]

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Samples of each shard."""
        return np.array([s.samples for s in self.shards], dtype=np.int64)

    @cached_property
    def samples(self) -> int:
        return int(self.sizes.sum())

    @cached_property
    def bytes(self) -> int:
        """Size of all tars."""
        return sum([s.bytes for s in self.shards])

    @cached_property
    def id(self) -> str:
        """Names the content: SHA-256 over the shards' hashes in order, hex."""
        hashes = builtins.bytes.fromhex("".join([s.sha256 for s in self.shards]))
        return hashlib.sha256(hashes).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "format": FORMAT,
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "stages": self.stages,
            "samples": self.samples,
            "bytes": self.bytes,
            "shards": [msgspec.structs.asdict(s) for s in self.shards],
        }

    @classmethod
    def from_bytes(cls, data: builtins.bytes) -> "Manifest":
        """Undo `to_json`, from the file's bytes. Raises InputError when they are no manifest or
        contradict themselves. A manifest of 100,000 shards takes a tenth of a second."""
        try:
            stored = msgspec.json.decode(data, type=_Stored)
            manifest = cls(stored.name, stored.version, stored.stages, stored.shards)
            actual = (manifest.id, manifest.samples, manifest.bytes)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise InputError(f"not a release manifest: {error}") from None
        if stored.format != FORMAT:
            raise InputError(f"release format {stored.format!r}; this reads {FORMAT!r}")
        # All at once: one by one they take longer than to decode.
        paths = "".join([f"{s.path}\n" for s in stored.shards])
        if "/" in paths or not len(stored.shards) == paths.count("\n") == paths.count(".tar\n"):
            raise InputError("not a release manifest: a shard is not a tar in the release's folder")
        stated = (stored.id, stored.samples, stored.bytes)
        if stated != actual:
            raise InputError(
                f"manifest contradicts itself: it states id, samples, bytes {stated}, "
                f"its shards give {actual}"
            )
        return manifest


def load(fs: fsspec.AbstractFileSystem, folder: str) -> Manifest:
    """The manifest of the release in `folder`. Raises InputError when there is none to be read."""
    path = posixpath.join(folder, MANIFEST)
    try:
        return Manifest.from_bytes(fs.cat_file(path))
    except FileNotFoundError:
        raise InputError(f"{folder} is no release: it has no {MANIFEST}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
