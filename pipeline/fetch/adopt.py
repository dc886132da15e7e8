"""Folders that img2dataset wrote, taken in place of the net: their shards, where each picture lies,
and its bytes.

A shard is `NNNNN.parquet`, a row per URL, beside `NNNNN.tar` with a `<key>.jpg` for each that
succeeded, or beside a folder `NNNNN` of such files. Source: img2dataset 1.47, `writer.py` and
`downloader.py`; the outputs "webdataset" and "files".
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import IO, Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import records, ustar
from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.core.tables import ID, Table, column

_COLUMNS = ["key", "url", "status"]
_SUCCESS = "success"
# What it encodes pictures as. Source: img2dataset, `encode_format`.
_ENDINGS = frozenset({"jpg", "jpeg", "png", "webp"})
_SHARD = re.compile(r"(.*/)?\d+")
_MAGIC = re.compile(r"[*?\[]")
_REGULAR = (b"0", b"\0")
_TYPE_AT = 156

_PLACE = [
    column("file", pa.string(), "with the picture, relative to the folder"),
    column("offset", pa.int64(), "of its first byte", unit="bytes"),
    column("size", pa.int64(), "of the picture", unit="bytes"),
    column("member", pa.string(), "its name in the tar; empty: the file is the picture"),
]
# Between the folder and the download; both are removed with the stage's output.
PLACES = Table(
    "adopted_places",
    "One row per picture of an adopted folder, as its shards have them.",
    ("file", "offset"),
    pa.schema([column("image_id", ID, "of its URL"), *_PLACE]),
)
ADOPTED = Table(
    "adopted",
    "Those that are candidates, each once, in the parts they are downloaded in.",
    ("image_id",),
    PLACES.schema,
    partition="part",
)

Open = Callable[[str], IO[bytes]]


class Shard(NamedTuple):
    """name: relative to the folder, without ending. rows_bytes: of its Parquet. tar_bytes: None
    where its pictures are files."""

    name: str
    rows_bytes: int
    tar_bytes: int | None


class Place(NamedTuple):
    """Where a picture lies, as a row of PLACES; file: as fsspec takes it."""

    file: str
    offset: int
    size: int
    member: str


@lru_cache(maxsize=4)
def list_shards(pattern: str) -> tuple[str, tuple[Shard, ...]]:
    """The folder that all lie below, and the shards of a folder, glob or Parquet file (any fsspec
    URL), by name. Shards that img2dataset has not finished have no Parquet and are passed over.

    Raises InputError when there are none, or the first one is not by img2dataset.
    """
    try:
        fs, path = fsspec.core.url_to_fs(pattern)
        path = path.rstrip("/")
        magic = _MAGIC.search(path)
        if not magic and fs.isdir(path):
            base, listed = path, _inside(fs, path)
        else:
            base = posixpath.dirname(path[: magic.start()] if magic else path)
            listed = _matched(fs, fs.glob(path, detail=True) if magic else {path: fs.info(path)})
        shards = tuple(_shards(listed, base))
        base = str(fs.unstrip_protocol(base)) if "://" in pattern else base
        if shards:
            first = posixpath.join(base, f"{shards[0].name}.parquet")
            with fsspec.open(first, "rb") as file:
                _parquet(first, file)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"download.adopt = {pattern} cannot be read: {error}") from None
    if not shards:
        raise InputError(
            f"download.adopt = {pattern} holds no shard of img2dataset: expected are 00000.parquet "
            "beside 00000.tar, or beside a folder 00000"
        )
    return base, shards


def is_output(pattern: str) -> bool:
    """True when `list_shards` finds shards there."""
    try:
        list_shards(pattern)
    except InputError:
        return False
    return True


def identity(pattern: str) -> str:
    """A digest of names and sizes of the shards. Raises InputError."""
    return records.digest(list_shards(pattern)[1])


def _inside(fs: Any, folder: str) -> dict[str, Any]:
    """path -> info of what lies in a folder."""
    return {str(info["name"]).rstrip("/"): info for info in fs.ls(folder, detail=True)}


def _matched(fs: Any, found: dict[str, Any]) -> dict[str, Any]:
    """path -> info of the shards that some paths are of, and of what lies in folders among them."""
    beside: dict[str, Any] = {}
    for folder in sorted({posixpath.dirname(path) for path in found}):
        beside |= _inside(fs, folder)
    listed: dict[str, Any] = {}
    stems = set()
    for path, info in found.items():
        if info["type"] == "directory" and f"{path}.parquet" not in beside:
            listed |= _inside(fs, path)
        else:
            stems.add(_stem(path))
    return listed | {path: info for path, info in beside.items() if _stem(path) in stems}


def _stem(path: str) -> str:
    return path.removesuffix(".parquet").removesuffix(".tar")


def _shards(listed: dict[str, Any], base: str) -> Iterator[Shard]:
    for path in sorted(listed):
        stem = path.removesuffix(".parquet")
        if stem == path or not _SHARD.fullmatch(stem):
            continue
        name = stem.removeprefix(base).lstrip("/")
        rows_bytes = int(listed[path]["size"])
        tar, folder = listed.get(f"{stem}.tar"), listed.get(stem)
        if tar is not None:
            yield Shard(name, rows_bytes, int(tar["size"]))
        elif folder is not None and folder["type"] == "directory":
            yield Shard(name, rows_bytes, None)


def read_shard(base: str, shard: Shard, open_: Open) -> tuple[pa.Table, Account]:
    """The pictures of a shard: columns url and those of PLACES behind image_id; of its other rows
    why they have none, while those returned are not yet counted.

    open_: opens a path as a seekable binary file. A damaged tar costs the pictures that are
    damaged. Memory: the shard's rows. Raises InputError when its Parquet is not readable or not by
    img2dataset, OSError when the tar cannot be read.
    """
    path = posixpath.join(base, f"{shard.name}.parquet")
    with open_(path) as file:
        rows = _rows(path, file)
    account = Account("adopted pictures")
    good = rows.filter(pc.fill_null(pc.equal(rows["status"], _SUCCESS), False))
    account.drop("not_downloaded", rows.num_rows - good.num_rows)
    places = _places(base, shard, open_)
    keys, urls = good["key"].to_pylist(), good["url"].to_pylist()
    found = [
        {"url": url, **places[key]._asdict()}
        for key, url in zip(keys, urls, strict=True)
        if key in places
    ]
    account.drop("not_in_shard", good.num_rows - len(found))
    return pa.Table.from_pylist(found, pa.schema([pa.field("url", pa.string()), *_PLACE])), account


def _rows(path: str, file: Any) -> pa.Table:
    """_COLUMNS of a shard's Parquet, as text. Raises InputError."""
    try:
        rows = _parquet(path, file).read(_COLUMNS).select(_COLUMNS)
        return rows.cast(pa.schema([pa.field(name, pa.string()) for name in _COLUMNS]))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"download.adopt: {path} is not readable Parquet: {error}") from None


def _parquet(path: str, file: Any) -> pq.ParquetFile:
    """A shard's Parquet, opened. Raises InputError."""
    try:
        parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"download.adopt: {path} is not readable Parquet: {error}") from None
    names = parquet.schema_arrow.names
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise InputError(
            f"download.adopt: {path} lacks {', '.join(missing)}, so img2dataset did not write it; "
            f"it has {', '.join(names[:20])}"
        )
    return parquet


def _places(base: str, shard: Shard, open_: Open) -> dict[str, Place]:
    """key -> where its picture lies, relative to the folder."""
    found = {}
    if shard.tar_bytes is None:
        fs, folder = fsspec.core.url_to_fs(posixpath.join(base, shard.name))
        for info in fs.ls(folder, detail=True) if fs.isdir(folder) else ():
            name = posixpath.basename(info["name"])
            key, _, ending = name.partition(".")
            if ending in _ENDINGS and info["size"]:
                found[key] = Place(f"{shard.name}/{name}", 0, int(info["size"]), "")
        return found
    tar = f"{shard.name}.tar"
    try:
        with open_(posixpath.join(base, tar)) as file:
            for name, offset, size in tar_members(file, shard.tar_bytes):
                key, _, ending = name.partition(".")
                if ending in _ENDINGS and size:
                    found.setdefault(key, Place(tar, offset, size, name))
    except FileNotFoundError:
        return {}
    return found


def tar_members(file: IO[bytes], size: int) -> Iterator[tuple[str, int, int]]:
    """(name, offset of its data, size) of the whole regular files of a tar of `size` bytes.

    Reads headers alone. Where one is damaged, the search goes on at the next block. Extended
    headers are passed over: of these writers, they hold times.
    """
    at = 0
    while at + ustar.BLOCK <= size:
        file.seek(at)
        block = file.read(ustar.BLOCK)
        at += ustar.BLOCK
        stated = ustar.named(block) if ustar.is_header(block) else None
        if stated is None:
            continue
        name, length = stated
        if block[_TYPE_AT : _TYPE_AT + 1] in _REGULAR and at + length <= size:
            yield name.decode("utf-8", "replace"), at, length
        at += ustar.padded(length)


def read_picture(place: Place) -> bytes | None:
    """The bytes at a place; None when the picture is not there. Memory: its size."""
    head = ustar.BLOCK if place.member else 0
    try:
        fs, path = fsspec.core.url_to_fs(place.file)
        # By name: what comes second is a version with some file systems.
        first, end = place.offset - head, place.offset + place.size
        data: bytes = fs.cat_file(path, start=first, end=end)
    except Exception:  # noqa: BLE001 - any library's; whatever it is, the net may have the picture
        return None
    if head and ustar.named(data[:head]) != (place.member.encode(), place.size):
        return None
    body = data[head:]
    return body if len(body) == place.size else None
