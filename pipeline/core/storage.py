"""Files of a run: atomic publication, committed parts, and what a kill left behind.

A file is written beside its place under a temporary name and renamed when whole, so that a file
under its final name is always complete. Part tables keep their accounts in the Parquet footer:
the part's file is also its commit record.
"""

import json
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.accounts import Account
from pipeline.core.tables import Table

_PART = re.compile(r"part-(\d{5,})\.parquet$")
_LEFTOVER = ".writing-"
# Of a multipart upload, of which S3 takes 10,000 parts: 160 GB a file.
_S3_PART_BYTES = 16 << 20
_ACCOUNTS_KEY = b"pairmill.accounts"
_ROUND_KEY = b"pairmill.round"


class Superseded(Exception):
    """Another attempt at the same part was faster; what this one made is dropped."""


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
        return fsspec.core.url_to_fs(self.root)[0]

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
        self, relative: str, unless: Callable[[], bool] | None = None
    ) -> Iterator[IO[bytes]]:
        """Open a binary file that appears under its name only when the block ends without error.

        Raises Superseded instead when `unless` is true by then; on S3 also when, meanwhile, another
        attempt has put a file where none was.
        """
        final = self.path(relative)
        if self._is_s3:
            with self._put(final, unless) as file:
                yield file
            return
        parent = posixpath.dirname(final)
        temporary = posixpath.join(
            parent, f"{_LEFTOVER}{uuid.uuid4().hex}-{posixpath.basename(final)}"
        )
        fs = self.fs
        fs.makedirs(parent, exist_ok=True)
        try:
            with fs.open(temporary, "wb") as file:
                yield file
                if self.is_local:
                    file.flush()
                    os.fsync(file.fileno())
            if unless is not None and unless():
                raise Superseded(relative)
            if self.is_local:
                Path(temporary).replace(final)
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
        fs = self.fs
        is_once = unless is not None and not fs.exists(final)
        mode = "xb" if is_once else "wb"
        file = fs.open(final, mode, block_size=_S3_PART_BYTES, autocommit=False)
        try:
            yield file
            if unless is not None and unless():
                raise Superseded(final)
            file.close()
            try:
                file.commit()
            except OSError as error:
                if is_once and unless is not None and unless():
                    raise Superseded(final) from error
                raise
        except BaseException:
            file.discard()
            raise

    @property
    def _is_s3(self) -> bool:
        protocol = self.fs.protocol
        return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)

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
        else:
            self.fs.mv(self.path(relative), final, recursive=True)

    def sweep(self, relative: str) -> int:
        """Remove half-written files a killed run left in a folder; how many. On S3 these are
        uploads that were not completed, which nobody sees but who pays for them."""
        folder = self.path(relative)
        if self._is_s3:
            return self._abort_uploads(folder)
        if not self.fs.exists(folder):
            return 0
        left = [f for f in self.fs.find(folder) if posixpath.basename(f).startswith(_LEFTOVER)]
        for file in left:
            self.fs.rm(file)
        return len(left)

    def _abort_uploads(self, folder: str) -> int:
        fs: Any = self.fs
        bucket, prefix, _ = fs.split_path(folder)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        aborted, asked = 0, {"Bucket": bucket, "Prefix": prefix}
        while True:
            found = fs.call_s3("list_multipart_uploads", **asked)
            for upload in found.get("Uploads", ()):
                fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
                aborted += 1
            if not found.get("IsTruncated"):
                return aborted
            asked |= {
                "KeyMarker": found["NextKeyMarker"],
                "UploadIdMarker": found["NextUploadIdMarker"],
            }

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
            with self.fs.open(name, "rb") as file:
                yield from pq.ParquetFile(file).iter_batches(batch_rows, columns=columns)

    def part_accounts(self, table: Table, part: int) -> list[Account]:
        """The accounts a committed part stored in its footer."""
        stored = self._footer(table, part).get(_ACCOUNTS_KEY, b"[]")
        return [Account.from_json(a) for a in json.loads(stored)]

    def part_round(self, table: Table, part: int) -> int:
        """How often a committed part has been replaced; -1 when it is not committed."""
        if not self.exists(self.part_file(table, part)):
            return -1
        return int(self._footer(table, part).get(_ROUND_KEY, b"0"))

    def _footer(self, table: Table, part: int) -> dict[bytes, bytes]:
        with self.fs.open(self.path(self.part_file(table, part)), "rb") as file:
            return pq.read_metadata(file).metadata or {}

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
        with self.publish(name, unless=partial(self.has_round, table, part, round_)) as file:
            writer = pq.ParquetWriter(
                file, table.schema, compression="zstd", use_dictionary=_recurring(table.schema)
            )
            try:
                sink = PartSink(writer, table)
                yield sink
                accounts = json.dumps([a.to_json() for a in sink.accounts])
                writer.add_key_value_metadata(
                    {_ACCOUNTS_KEY.decode(): accounts, _ROUND_KEY.decode(): str(round_)}
                )
            finally:
                writer.close()


def _recurring(schema: pa.Schema) -> list[str]:
    """Paths of the columns that are written with a dictionary: all but ids and digests. These
    hardly recur, and looking for that took a third of the time of writing `measures`."""
    found = []
    for field in schema:
        is_list = pa.types.is_list(field.type)
        kind = field.type.value_type if is_list else field.type
        if not pa.types.is_binary(kind):
            found.append(f"{field.name}.list.element" if is_list else field.name)
    return found


class PartSink:
    """Where a part's work puts its rows and its accounts."""

    def __init__(self, writer: pq.ParquetWriter, table: Table) -> None:
        self._writer = writer
        self.table = table
        self.rows = 0
        self.accounts: list[Account] = []

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
