"""Files of a run: atomic publication, committed parts, and what a kill left behind.

A file is written beside its place under a temporary name and renamed when whole, so that a file
under its final name is always complete. Part tables keep their accounts in the Parquet footer:
the part's file is also its commit record. docs/faults.md has the protocol.
"""

import errno
import json
import os
import posixpath
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.core import checksums, s3
from pipeline.core.accounts import Account
from pipeline.core.table_files import damage_told, table_file, table_writer
from pipeline.core.tables import Table

_PART = re.compile(r"part-(\d{5,})\.parquet$")
_LEFTOVER = ".writing-"
_ACCOUNTS_KEY = b"pairmill.accounts"
_ROUND_KEY = b"pairmill.round"
_WORK_KEY = b"pairmill.work"


class Superseded(Exception):
    """Another attempt at the same part was faster; what this one made is dropped."""


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL, and the path in it. No listing is remembered: other processes write
    there too, and a file that an old listing lacks would be taken for missing."""
    given = {"use_listings_cache": False} if "://" in url else {}
    found: tuple[fsspec.AbstractFileSystem, str] = fsspec.core.url_to_fs(url, **given)
    return found


class Store:
    """A folder that a run lives in, on any fsspec file system. Picklable: tasks get a copy.

    Paths given to its methods are relative to the folder, with forward slashes.
    """

    def __init__(self, root: str) -> None:
        root = root.removeprefix("file://")
        self.root = root if "://" in root else str(Path(root).absolute())

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return file_system(self.root)[0]

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def path(self, *parts: str) -> str:
        """The full path, as Spark and fsspec take it."""
        return posixpath.join(self.root, *parts)

    def exists(self, relative: str) -> bool:
        return bool(self.fs.exists(self.path(relative)))

    @contextmanager
    def publish(
        self,
        relative: str,
        unless: Callable[[], bool] | None = None,
        *,
        once: bool = False,
        is_table: bool = False,
    ) -> Iterator[IO[bytes]]:
        """Open a binary file that appears under its name only when the block ends without error.

        Raises Superseded instead when `unless` is true by then; on S3 also when, meanwhile, another
        attempt has put a file where none was. once: the file is written once and never again; of
        attempts that end at the same moment one stands, and the others raise Superseded.
        is_table: on a local disk or a NAS its checksums are kept beside it (see `checksums`).
        """
        final = self.path(relative)
        if self._is_s3:
            with self._put(
                final, unless or (partial(self.exists, relative) if once else None)
            ) as f:
                yield f
            return
        parent, base = posixpath.split(final)
        temporary = posixpath.join(parent, f"{_LEFTOVER}{uuid.uuid4().hex}-{base}")
        fs = self.fs
        fs.makedirs(parent, exist_ok=True)
        try:
            with fs.open(temporary, "wb") as file:
                summed = checksums.Summed(file) if is_table and self.is_local else None
                yield cast(IO[bytes], summed) if summed else file
                if self.is_local:
                    file.flush()
                    os.fsync(file.fileno())
            if unless is not None and unless():
                raise Superseded(relative)
            if self.is_local:
                _place(Path(temporary), Path(final), summed.sums() if summed else None, once=once)
            else:
                fs.mv(temporary, final)
        except BaseException:
            if fs.exists(temporary):
                fs.rm(temporary)
            raise

    @contextmanager
    def _put(self, final: str, unless: Callable[[], bool] | None) -> Iterator[IO[bytes]]:
        """As `publish`, on S3, where an object is there when its upload is completed, and not
        before. One that is to be there once is put on condition that it is not."""
        is_once = unless is not None and not self.fs.exists(final)
        upload: Any = s3.Upload(self.fs, final, once=is_once)
        try:
            yield upload
            if unless is not None and unless():
                raise Superseded(final)
            try:
                upload.commit()
            except s3.Taken as error:
                if unless is not None and unless():
                    raise Superseded(final) from error
                raise
        except BaseException:
            upload.discard()
            raise

    @property
    def _is_s3(self) -> bool:
        return s3.is_s3(self.fs)

    def write_json(self, relative: str, data: object) -> None:
        with self.publish(relative) as file:
            file.write((json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())

    def read_json(self, relative: str) -> Any:
        return json.loads(self.fs.cat_file(self.path(relative)))

    def remove(self, relative: str) -> None:
        """Remove a file or folder if it is there."""
        if self.exists(relative):
            self.fs.rm(self.path(relative), recursive=True)

    def move(self, relative: str, to: str) -> None:
        """Move a file or folder to another place in this folder, where nothing is yet."""
        final = self.path(to)
        self.fs.makedirs(posixpath.dirname(final), exist_ok=True)
        if self.is_local:
            Path(self.path(relative)).rename(final)
        elif self._is_s3:
            s3.move(self.fs, self.path(relative), final)
        else:
            self.fs.mv(self.path(relative), final, recursive=True)

    def sweep(self, relative: str) -> int:
        """Remove half-written files a killed run left in a folder; how many. On S3 these are
        uploads that were not completed, which nobody sees but who pays for them."""
        folder = self.path(relative)
        if self._is_s3:
            return s3.abort_uploads(self.fs, folder)
        if not self.fs.exists(folder):
            return 0
        left = [f for f in self.fs.find(folder) if posixpath.basename(f).startswith(_LEFTOVER)]
        for file in left:
            self.fs.rm(file)
        return len(left)

    def part_file(self, table: Table, part: int) -> str:
        """Where a part of a part table is published."""
        return f"{table.name}/part-{part:05d}.parquet"

    def committed(self, table: Table) -> dict[int, str]:
        """Committed parts of a part table: number -> full path."""
        folder = self.path(table.name)
        if not self.fs.exists(folder):
            return {}
        found = {}
        for file in self.fs.ls(folder, detail=False):
            match = _PART.search(file)
            if match and not posixpath.basename(file).startswith(_LEFTOVER):
                found[int(match.group(1))] = self.path(table.name, posixpath.basename(file))
        return dict(sorted(found.items()))

    def folders(self, table: Table) -> list[int]:
        """Parts of a table that has a folder `<column>=<part>` for each, sorted."""
        path, prefix = self.path(table.name), f"{table.partition}="
        if not self.fs.exists(path):
            return []
        names = [str(f).rstrip("/").rsplit("/", 1)[-1] for f in self.fs.ls(path, detail=False)]
        return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))

    def read_part(
        self, table: Table, part: int, columns: list[str] | None = None, batch_rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """Rows of one part of a table: a committed part file, or a `<column>=<part>` folder."""
        if table.partition:
            folder = self.path(table.name, f"{table.partition}={part}")
            files = sorted(f for f in self.fs.ls(folder, detail=False) if f.endswith(".parquet"))
        else:
            files = [self.path(self.part_file(table, part))]
        for name in files:
            with self.open_table(name) as rows:
                yield from rows.iter_batches(batch_rows, columns=columns)

    @contextmanager
    def open_table(self, name: str) -> Iterator[pq.ParquetFile]:
        """A Parquet file by its full path. Raises DamagedFile, here or where its rows are read
        inside the block, when its bytes are not those that were written."""
        with self.fs.open(name, "rb") as file, damage_told(name):
            yield table_file(file, name if self.is_local else None)

    def part_accounts(self, table: Table, part: int) -> list[Account]:
        """The accounts a committed part stored in its footer."""
        stored = self._footer(table, part).get(_ACCOUNTS_KEY, b"[]")
        return [Account.from_json(a) for a in json.loads(stored)]

    def part_work(self, table: Table, part: int) -> "PartWork":
        """What a committed part counted and took."""
        stored = self._footer(table, part)
        size = int(self.fs.size(self.path(self.part_file(table, part))))
        work = json.loads(stored.get(_WORK_KEY, b'{"seconds": 0, "bytes_beside": 0}'))
        accounts = [Account.from_json(a) for a in json.loads(stored.get(_ACCOUNTS_KEY, b"[]"))]
        return PartWork(accounts, work["seconds"], size + work["bytes_beside"])

    def part_round(self, table: Table, part: int) -> int:
        """How often a committed part has been replaced; -1 when it is not committed."""
        if not self.exists(self.part_file(table, part)):
            return -1
        return int(self._footer(table, part).get(_ROUND_KEY, b"0"))

    def _footer(self, table: Table, part: int) -> dict[bytes, bytes]:
        with self.open_table(self.path(self.part_file(table, part))) as file:
            return file.metadata.metadata or {}

    def has_round(self, table: Table, part: int, round_: int) -> bool:
        """True when a part is committed, in that round or a later one."""
        return self.part_round(table, part) >= round_

    @contextmanager
    def publish_part(self, table: Table, part: int, round_: int = 0) -> Iterator["PartSink"]:
        """Write one part of a part table; it is committed when the block ends without error.

        round_: 1 and more replace the part of the round before, whole. Raises Superseded when
        another attempt has committed this round by then: the first one stands.
        """
        name = self.part_file(table, part)
        is_there = partial(self.has_round, table, part, round_)
        with self.publish(name, unless=is_there, once=round_ == 0, is_table=True) as file:
            writer = table_writer(file, table.schema)
            try:
                sink = PartSink(writer, table)
                yield sink
                accounts = json.dumps([a.to_json() for a in sink.accounts])
                work = {
                    "seconds": round(time.time() - sink.started_at, 3),
                    "bytes_beside": sink.bytes_beside,
                }
                writer.add_key_value_metadata(
                    {
                        _ACCOUNTS_KEY.decode(): accounts,
                        _ROUND_KEY.decode(): str(round_),
                        _WORK_KEY.decode(): json.dumps(work),
                    }
                )
            finally:
                writer.close()


def _place(temporary: Path, final: Path, sums: bytes | None, *, once: bool) -> None:
    """Give a whole file its name. Raises Superseded when it is to be written once and is there.

    A kill between the two names of a file and of its checksums leaves it without checksums, and
    never with those of another.
    """
    beside = checksums.beside(final)
    if sums is not None and not (once and final.exists()):
        beside.unlink(missing_ok=True)  # of a file that is gone, or goes now
    if once:
        _link(temporary, final)
    else:
        temporary.replace(final)
    if sums is not None:
        written = temporary.with_name(f"{temporary.name}.crc")
        written.write_bytes(sums)
        written.replace(beside)


def _link(temporary: Path, final: Path) -> None:
    """Rename unless the name is taken, which rename(2) does not offer and link(2) does."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        # A reply that was lost on the way from a file server: the second try finds the first one's
        # work. Source: open(2), O_EXCL on NFS.
        if temporary.stat().st_nlink != 2:
            raise Superseded(str(final)) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        temporary.replace(final)  # a file system without links: the last one stands
        return
    temporary.unlink()


@dataclass(frozen=True)
class PartWork:
    """What a part counted, how many seconds it took, and the bytes it stored."""

    accounts: list[Account]
    seconds: float
    bytes: int


class PartSink:
    """Where a part's work puts its rows and its accounts.

    started_at: Unix seconds, when its work began; bytes_beside: what it stored beside its table (a
    tar). Both are for those who watch.
    """

    def __init__(self, writer: pq.ParquetWriter, table: Table) -> None:
        self._writer = writer
        self.table = table
        self.rows = 0
        self.accounts: list[Account] = []
        self.started_at = time.time()
        self.bytes_beside = 0

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows; columns must be those of the table, in order. Memory: one batch."""
        rows = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        rows = rows.select(self.table.schema.names).cast(self.table.schema)
        self._writer.write_table(rows)
        self.rows += rows.num_rows

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Append rows given as dicts."""
        if rows:
            self.write(pa.Table.from_pylist(rows, schema=self.table.schema))
