"""Block lists and evaluation sets: files of digests and hashes that users supply.

A list is a file or a folder, on any fsspec path, of

    *.parquet                a hash pack (`make hash-pack`), or any Parquet with some of the columns
                             sha256, md5, hash256 (binary), hash64 (int64); hashes need the version
    *.sha256, *.md5,         text: one digest a line in hexadecimal (64, 32, 64 and 16 digits);
    *.pdq, *.hash64          blank lines and those that start with # are left aside; .txt may follow

What kind of digest a text holds is said by its suffix or by `digest`, never guessed: a SHA-256 and
a PDQ look alike. What lists hold is nobody's business: no message, log or table repeats an entry.
"""

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.core.errors import InputError
from pipeline.core.hash_files import refuse_other_version
from pipeline.core.stage import Section

Kind = Literal["block", "evaluation"]
# Kind of digest -> bytes of it.
_BYTES = {"sha256": 32, "md5": 16, "pdq": 32, "hash64": 8}
_COLUMNS = {"sha256": 32, "md5": 16, "hash256": 32}
_REMEDY = "make it again with `make hash-pack`"


class ListSection(Section):
    """`[match.lists.<name>]`.

    kind: pictures that a "block" list names are taken out before anything is written of them;
        those of an "evaluation" list are measured, and dropped by the filter `evaluation_match`.
    path: file or folder. digest: of text files whose suffix does not say it.
    radius256: bits of PDQ, inclusive. PDQ's authors use 31 (Facebook, "The TMK+PDQF Video-Hashing
        Algorithm and the PDQ Image-Hashing Algorithm", 2019).
    radius64: bits of the 64-bit hash, inclusive. Where the list has the wider hash or the shape
        beside it, these must agree as in `match` (`match.radius256`, `match.aspect_tolerance`).
    """

    kind: Kind
    path: str
    digest: Literal["", "sha256", "md5", "pdq", "hash64"] = ""
    radius64: int = Field(4, ge=0, le=8)
    radius256: int = Field(31, ge=0, le=63)


@dataclass(frozen=True)
class Entries:
    """What a list holds.

    sha256, md5: uint64 [entries, 2], sorted: the first 16 bytes of each digest.
    hashes: hash64, hash256 (binary), texture, aspect; each null where the list does not tell.
    """

    sha256: npt.NDArray[np.uint64]
    md5: npt.NDArray[np.uint64]
    hashes: pa.Table


HASHES = pa.schema(
    [
        ("hash64", pa.int64()),
        ("hash256", pa.binary()),
        ("texture", pa.int32()),
        ("aspect", pa.float64()),
    ]
)


def read(name: str, section: ListSection) -> Entries:
    """All entries of a list.

    Raises InputError, which names file and line at most, when there is no list, when a file's kind
    of digest is not told, when a line is no digest of that kind, or when hashes in Parquet are of
    another version.
    """
    digests: dict[str, list[bytes]] = {"sha256": [], "md5": []}
    hashes = [HASHES.empty_table()]
    for fs, path in _files(name, section):
        where = f"list {name}, {path}"
        if path.endswith(".parquet"):
            found, table = _pack(where, fs, path)
        else:
            found, table = _text(where, fs, path, section.digest)
        for kind, joined in found.items():
            digests[kind].append(joined)
        hashes.append(table)
    sha256, md5 = (as_halves(b"".join(digests[kind]), _BYTES[kind]) for kind in ("sha256", "md5"))
    return Entries(_distinct(sha256), _distinct(md5), pa.concat_tables(hashes).combine_chunks())


def identity(name: str, section: ListSection) -> dict[str, object]:
    """What the matches depend on: the settings, and the content wherever it lies; JSON-ready.

    Raises InputError when there is no list.
    """
    whole = []
    for fs, path in _files(name, section):
        content = _content(f"list {name}, {path}", fs, path)
        whole.append(hashlib.sha256(content).hexdigest())
    together = hashlib.sha256("".join(whole).encode()).hexdigest()
    return section.model_dump(mode="json", exclude={"path"}) | {"sha256": together}


def as_halves(joined: bytes, width: int) -> npt.NDArray[np.uint64]:
    """The first 16 bytes of digests of `width` bytes that lie one after another: uint64 [n, 2]."""
    return np.ascontiguousarray(np.frombuffer(joined, np.uint64).reshape(-1, width // 8)[:, :2])


def has_digests(
    entries: npt.NDArray[np.uint64], digests: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Which digests (uint64 [rows, 2]) are among sorted entries."""
    found = np.zeros(len(digests), bool)
    at = np.searchsorted(entries[:, 0], digests[:, 0])
    alive = np.arange(len(digests))
    # Equal first halves are rare, so that this ends after one turn, nearly always.
    while len(alive):
        alive = alive[at[alive] < len(entries)]
        alive = alive[entries[at[alive], 0] == digests[alive, 0]]
        is_hit = entries[at[alive], 1] == digests[alive, 1]
        found[alive[is_hit]] = True
        alive = alive[~is_hit]
        at[alive] += 1
    return found


def _distinct(halves: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    ordered = halves[np.lexsort((halves[:, 1], halves[:, 0]))]
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.ascontiguousarray(ordered[is_new])


def _files(name: str, section: ListSection) -> list[tuple[fsspec.AbstractFileSystem, str]]:
    """The files of a list, sorted; hidden ones left aside."""
    try:
        fs, path = fsspec.core.url_to_fs(section.path)
        if fs.isfile(path):
            return [(fs, path)]
        found = sorted(str(f) for f in fs.find(path)) if fs.exists(path) else []
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"match.lists.{name}: {section.path} cannot be read: {error}") from None
    shown = [f for f in found if not posixpath.basename(f).startswith((".", "_"))]
    if not shown:
        raise InputError(f"match.lists.{name}: no file at {section.path}")
    return [(fs, f) for f in shown]


def _content(where: str, fs: fsspec.AbstractFileSystem, path: str) -> bytes:
    try:
        return bytes(fs.cat_file(path))
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error}") from None


def _text(
    where: str, fs: fsspec.AbstractFileSystem, path: str, stated: str
) -> tuple[Mapping[str, bytes], pa.Table]:
    """Digests of a text file, joined by kind, or its hashes."""
    kind = _digest_kind(where, path, stated)
    raw = _content(where, fs, path).removeprefix(b"\xef\xbb\xbf")
    lines = pa.array(raw.split(b"\n"), pa.binary())
    try:
        text = pc.utf8_trim_whitespace(lines.cast(pa.string()))
    except pa.ArrowInvalid:
        raise InputError(f"{where} is not UTF-8 text") from None
    is_idle = pc.or_(pc.equal(text, ""), pc.starts_with(text, "#"))
    digits = 2 * _BYTES[kind]
    is_digest = pc.match_substring_regex(text, f"^[0-9a-fA-F]{{{digits}}}$")
    bad = pc.invert(pc.or_(is_idle, is_digest))
    if pc.any(bad).as_py():
        line = pc.index(bad, True).as_py() + 1
        raise InputError(f"{where}, line {line}: not a {kind} of {digits} hexadecimal digits")
    joined = bytes.fromhex("".join(text.filter(is_digest).to_pylist()))
    if kind in ("sha256", "md5"):
        return {kind: joined}, HASHES.empty_table()
    return {}, _hash_table(kind, joined)


def _digest_kind(where: str, path: str, stated: str) -> str:
    suffixes = posixpath.basename(path).lower().removesuffix(".txt").split(".")
    told = suffixes[-1] if len(suffixes) > 1 and suffixes[-1] in _BYTES else ""
    if told and stated and told != stated:
        raise InputError(f"{where}: its suffix says {told}, `digest` says {stated}")
    if not (told or stated):
        raise InputError(
            f"{where}: what its digests are is not told; name it *.sha256, *.md5, *.pdq or "
            "*.hash64, or give the list a `digest`"
        )
    return told or stated


def _hash_table(kind: str, joined: bytes) -> pa.Table:
    """Rows of HASHES of a text file's hashes."""
    rows = len(joined) // _BYTES[kind]
    columns = {field.name: pa.nulls(rows, field.type) for field in HASHES}
    if kind == "hash64":
        columns["hash64"] = pa.array(np.frombuffer(joined, ">i8").astype(np.int64))
    else:
        ends = np.arange(0, 32 * rows + 1, 32, dtype=np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(joined)]
        columns["hash256"] = pa.Array.from_buffers(pa.binary(), rows, buffers)
    return pa.table(columns, HASHES)


def _pack(
    where: str, fs: fsspec.AbstractFileSystem, path: str
) -> tuple[Mapping[str, bytes], pa.Table]:
    """Digests of a Parquet file, joined by kind, and its hashes."""
    try:
        with fs.open(path, "rb") as file:
            parquet = pq.ParquetFile(file)
            names = set(parquet.schema_arrow.names)
            metadata = parquet.schema_arrow.metadata
            wanted = [n for n in ("sha256", "md5", *HASHES.names) if n in names]
            if not names & {"sha256", "md5", "hash64", "hash256"}:
                raise InputError(f"{where} has none of the columns sha256, md5, hash64 and hash256")
            if names & {"hash64", "hash256"}:
                refuse_other_version(metadata, where, _REMEDY)
            table = parquet.read(wanted)
            for name, width in _COLUMNS.items():
                if name in wanted:
                    _require_width(where, table.column(name).cast(pa.binary()), name, width)
            found = {
                kind: b"".join(table.column(kind).cast(pa.binary()).drop_null().to_pylist())
                for kind in ("sha256", "md5")
                if kind in wanted
            }
            if not names & {"hash64", "hash256"}:
                return found, HASHES.empty_table()
            columns = [
                table.column(f.name).cast(f.type)
                if f.name in wanted
                else pa.nulls(table.num_rows, f.type)
                for f in HASHES
            ]
            return found, pa.table(columns, HASHES)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where} is not readable Parquet: {type(error).__name__}") from None


def _require_width(where: str, values: pa.ChunkedArray, name: str, width: int) -> None:
    wrong = pc.not_equal(pc.binary_length(values), width)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py() + 1
        raise InputError(f"{where}, row {row}: {name} is not {width} bytes long")
