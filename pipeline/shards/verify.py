"""Re-reads a release whole and names whatever is not as it was written."""

import hashlib
import itertools
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release, ustar
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import file_system


@dataclass(frozen=True)
class Problem:
    """What is wrong. path: file, relative to the release; key: of the sample, when it is one's."""

    path: str
    what: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" + (f" (sample {self.key})" if self.key else "")


Selected = Callable[[int], Sequence[int]]


def verify(folder: str, selected: Selected | None = None) -> list[Problem]:
    """Check every hash, count, offset and name of a release; [] when all is well.

    folder: path or fsspec URL. selected: rows of a shard, ascending, that alone are read and
    checked, for a view; the SHA-256 of whole tars, and shards without such rows, are not.
    Memory: one sample and one sample table. Raises nothing on damage.
    """
    fs, root = file_system(folder)
    try:
        manifest = release.load(fs, root)
    except InputError as error:
        return [Problem(release.MANIFEST, str(error))]
    problems = list(_root(fs, root, manifest))
    for number, entry in enumerate(manifest.shards):
        if selected is None:
            problems += _shard(fs, root, entry)
        elif rows := selected(number):
            problems += _some(fs, root, entry, rows)
    return problems


def _root(fs: fsspec.AbstractFileSystem, root: str, manifest: Manifest) -> Iterator[Problem]:
    wanted = {e.path: e.samples for e in manifest.shards}
    names = [release.shard_name(i, len(wanted)) + ".tar" for i in range(len(wanted))]
    if list(wanted) != names:
        yield Problem(release.MANIFEST, "tars are not numbered from 0 without gaps")
    try:
        sizes = json.loads(fs.cat_file(posixpath.join(root, release.SIZES)))
        if sizes != wanted:
            yield Problem(release.SIZES, "differs from the manifest")
    except FileNotFoundError:
        yield Problem(release.SIZES, "is missing")
    except ValueError:
        yield Problem(release.SIZES, "is not JSON")
    if not fs.exists(posixpath.join(root, release.CARD)):
        yield Problem(release.CARD, "is missing")
    known = {*wanted, release.SIZES, release.CARD, release.MANIFEST, release.TOMBSTONES}
    known |= {release.DIFF, release.DIFF_TEXT, release.DIFF_TABLE}
    beside = (release.index_path, release.sidecar_path, release.coyo_path)
    known |= {of(p) for p in wanted for of in beside}
    # Found and stored paths may differ in their protocol; the last components do not.
    base = fs._strip_protocol(root).rstrip("/")
    there = {str(found).removeprefix(base).lstrip("/") for found in fs.find(root)}
    for relative in sorted(there - known):
        if not relative.startswith(f"{release.TAKEDOWNS}/"):
            yield Problem(relative, "does not belong to the release")
    # A release that was not made here may have none of them; none may have some.
    coyo = {release.coyo_path(tar) for tar in wanted}
    if there & coyo:
        for relative in sorted(coyo - there):
            yield Problem(relative, "is missing")


def _shard(fs: fsspec.AbstractFileSystem, root: str, entry: ShardEntry) -> list[Problem]:
    problems: list[Problem] = []
    rows = _sidecar(fs, root, entry, problems)
    offsets = _index(fs, root, entry, rows, problems)
    problems += _coyo(fs, root, entry, rows)
    try:
        with fs.open(posixpath.join(root, entry.path), "rb") as file:
            if offsets is None:
                digest = _hash_rest(file, hashlib.sha256())
            else:
                digest = _walk(file, entry, offsets, rows, problems)
    except FileNotFoundError:
        return [*problems, Problem(entry.path, "is missing")]
    size = fs.size(posixpath.join(root, entry.path))
    if size != entry.bytes:
        problems.append(Problem(entry.path, f"has {size} bytes, not {entry.bytes}"))
    elif digest != entry.sha256:
        problems.append(Problem(entry.path, "SHA-256 differs from the manifest"))
    return problems


def _some(
    fs: fsspec.AbstractFileSystem, root: str, entry: ShardEntry, wanted: Sequence[int]
) -> list[Problem]:
    """Check some samples of a shard."""
    problems: list[Problem] = []
    rows = _sidecar(fs, root, entry, problems)
    offsets = _index(fs, root, entry, rows, problems)
    if offsets is None:
        return problems
    told = rows.drop_columns(["image_id"]).take(wanted).to_pylist() if rows is not None else None
    try:
        with fs.open(posixpath.join(root, entry.path), "rb") as file:
            for place, number in enumerate(wanted):
                start, stop = offsets[number], offsets[number + 1]
                file.seek(start)
                row = told[place] if told else None
                if what := _sample(file.read(stop - start), start, stop, row):
                    key = row["key"] if row else None
                    text = f"sample {number} at offset {start}: {what}"
                    problems.append(Problem(entry.path, text, key))
    except FileNotFoundError:
        problems.append(Problem(entry.path, "is missing"))
    return problems


def _sidecar(
    fs: fsspec.AbstractFileSystem, root: str, entry: ShardEntry, problems: list[Problem]
) -> pa.Table | None:
    path = release.sidecar_path(entry.path)
    try:
        with fs.open(posixpath.join(root, path), "rb") as file:
            rows = pq.read_table(file, page_checksum_verification=True)
        fixed = rows.select(release.SIDECAR.names).cast(release.SIDECAR)
    except FileNotFoundError:
        problems.append(Problem(path, "is missing"))
        return None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        problems.append(Problem(path, f"cannot be read: {error}"))
        return None
    if rows.num_rows != entry.samples:
        problems.append(Problem(path, f"has {rows.num_rows} rows, not {entry.samples}"))
        return None
    return fixed


def _coyo(
    fs: fsspec.AbstractFileSystem, root: str, entry: ShardEntry, rows: pa.Table | None
) -> Iterator[Problem]:
    """COYO-700M's columns, where there are any, are about the samples of the tar, in its order."""
    path = release.coyo_path(entry.path)
    try:
        with fs.open(posixpath.join(root, path), "rb") as file:
            keys = pq.read_table(file, page_checksum_verification=True)["key"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        yield Problem(path, f"cannot be read: {error}")
        return
    if rows is not None and keys.to_pylist() != rows["key"].to_pylist():
        yield Problem(path, "is not about the samples of the tar")


def _index(
    fs: fsspec.AbstractFileSystem,
    root: str,
    entry: ShardEntry,
    rows: pa.Table | None,
    problems: list[Problem],
) -> list[int] | None:
    """n + 1 offsets by the sample table, else by the index; None when neither is sound."""
    path = release.index_path(entry.path)
    end = entry.bytes - len(ustar.END)
    indexed, sums = None, None
    try:
        data = fs.cat_file(posixpath.join(root, path))
        if len(data) == release.INDEX.itemsize * (entry.samples + 1):
            records = np.frombuffer(data, release.INDEX)
            indexed, sums = records["offset"].tolist(), records["crc32c"].tolist()
    except FileNotFoundError:
        pass
    tabled = [*rows["offset"].to_pylist(), end] if rows is not None else None
    sound = [o for o in (tabled, indexed) if o and _is_sound(o, end)]
    if tabled is not None and tabled not in sound:
        problems.append(Problem(release.sidecar_path(entry.path), "offsets are not those of a tar"))
    if indexed is None:
        problems.append(Problem(path, "is missing or of a wrong size"))
    elif indexed not in sound or indexed != sound[0]:
        problems.append(Problem(path, "offsets are not those of the tar"))
    elif rows is not None and sums != [*rows["crc32c"].to_pylist(), 0]:
        problems.append(Problem(path, "checksums are not those of the sample table"))
    return sound[0] if sound else None


def _is_sound(offsets: list[int], end: int) -> bool:
    rising = all(a < b for a, b in itertools.pairwise(offsets))
    return rising and offsets[0] == 0 and offsets[-1] == end


def _walk(
    file: IO[bytes],
    entry: ShardEntry,
    offsets: list[int],
    rows: pa.Table | None,
    problems: list[Problem],
) -> str:
    """Check every sample; the SHA-256 of the file, hex."""
    digest = hashlib.sha256()
    columns = rows.drop_columns(["image_id"]).to_pylist() if rows is not None else None
    for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
        data = file.read(stop - start)
        digest.update(data)
        row = columns[i] if columns else None
        key = row["key"] if row else None
        what = _sample(data, start, stop, row)
        if what:
            problems.append(Problem(entry.path, f"sample {i} at offset {start}: {what}", key))
    end = file.read(len(ustar.END))
    digest.update(end)
    if end != ustar.END:
        problems.append(Problem(entry.path, "does not end with two zero blocks"))
    return _hash_rest(file, digest)


def _sample(data: bytes, start: int, stop: int, row: dict[str, Any] | None) -> str | None:
    """What is wrong with one sample's bytes, if anything."""
    if len(data) != stop - start:
        return "is cut off"
    if row is not None and google_crc32c.value(data) != row["crc32c"]:
        return "CRC-32C is not the recorded one"
    try:
        members = ustar.parse(data)
        key = members[0].name.partition(".")[0]
        if [m.name for m in members] != [f"{key}.{s}" for s in release.SUFFIXES]:
            return f"has members {[m.name for m in members]}"
        record = json.loads(data[members[2].start : members[2].start + members[2].size])
        caption = data[members[1].start : members[1].start + members[1].size].decode()
    except ValueError as error:
        return str(error)
    if record.get("key") != key or record.get("caption") != caption:
        return "its record is that of another sample"
    if row is None:
        return None
    found: dict[str, Any] = {"key": key, "pair_id": row["pair_id"], "bytes": stop - start}
    for suffix, member in zip(release.SUFFIXES, members, strict=True):
        found[f"{suffix}_offset"] = start + member.start
        found[f"{suffix}_bytes"] = member.size
    wrong = [name for name, value in found.items() if row[name] != value]
    if row["pair_id"].hex() != key:
        wrong.append("pair_id")
    return f"the sample table is wrong about {wrong}" if wrong else None


def _hash_rest(file: IO[bytes], digest: Any) -> str:
    while data := file.read(1 << 20):
        digest.update(data)
    return str(digest.hexdigest())
