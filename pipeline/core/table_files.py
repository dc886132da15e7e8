"""Files of tables: checksums in every page, and a name for the file that does not hold them."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import checksums
from pipeline.core.errors import DamagedFile


def table_file(file: IO[bytes], local: str | None = None) -> pq.ParquetFile:
    """A file of a table that is checked as it is read: by those beside it, or else by its own of
    pages. local: its path on a disk or NAS, where these lie. To be used inside `damage_told`."""
    source = checksums.checked(file, local) if local is not None else file
    return pq.ParquetFile(source, page_checksum_verification=source is file)


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turns what Arrow says of bytes it cannot read into DamagedFile, which names the file."""
    try:
        yield
    except (MemoryError, pa.ArrowCancelled):
        raise
    except (pa.ArrowException, OSError) as error:
        # A call to the system that failed (no such file, connection lost) has a number or a kind.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise DamagedFile(name, (str(error).splitlines() or ["?"])[0]) from error


def row_groups(
    batches: Iterable[pa.RecordBatch], rows: int, most_bytes: int = sys.maxsize
) -> Iterator[pa.Table]:
    """Batches put together to row groups of at least so many rows, or so many bytes in memory where
    these come first; the last one may be smaller, and none is without rows. A file of few large
    groups is a fifth smaller than one of many small ones, and is read faster."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
        if sum(b.num_rows for b in held) >= rows or sum(b.nbytes for b in held) >= most_bytes:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def table_writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a file of a table: with a checksum in every page, ids without a dictionary."""
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=_recurring(schema),
        write_page_checksum=True,
    )


def _recurring(schema: pa.Schema) -> list[str]:
    """Paths of the columns that are written with a dictionary: all but ids and digests, addresses,
    and what is measured on a scale. These hardly recur, and looking for that took more than a third
    of the time of writing `measures`."""
    found = []
    for field in schema:
        is_list = pa.types.is_list(field.type)
        kind = field.type.value_type if is_list else field.type
        if not (pa.types.is_binary(kind) or pa.types.is_floating(kind) or _is_address(field.name)):
            found.append(f"{field.name}.list.element" if is_list else field.name)
    return found


def _is_address(name: str) -> bool:
    return name == "url" or name.endswith("_url")
