"""Columns of a part of a list, by name and in batches, whatever kind of file it is."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.core.reasons import RecordReason
from pipeline.extract.lists import (
    JSON_LINES,
    MAX_LINE_BYTES,
    PARQUET,
    ListPart,
    delimiter_of,
    kind_of,
    open_list,
    problem,
)

# What Parquet reads ahead of a column, and the piece that CSV is parsed by.
_PARQUET_BUFFER_BYTES = 1 << 20
_CSV_BLOCK_BYTES = MAX_LINE_BYTES

# A batch of the columns, and the number of each row in its file.
Numbered = tuple[pa.RecordBatch, np.ndarray]
# Told of rows that cannot be read: why, and how many.
Lost = Callable[[RecordReason, int], None]
# A value of a JSON row as text, null for none; raises ValueError for what is not wanted.
AsText = Callable[[object], str | None]


def only_text(value: object) -> str | None:
    """A string or null of a JSON row. Raises ValueError for anything else."""
    if value is not None and not isinstance(value, str):
        raise ValueError("not a string")
    # Half a surrogate pair, which JSON can escape, is no text.
    return value if value is None or value.isascii() else value.encode().decode()


def read_columns(
    part: ListPart,
    names: Sequence[str],
    batch_rows: int,
    lost: Lost,
    as_text: AsText = only_text,
) -> Iterator[Numbered]:
    """The named columns of a part: of Parquet as they are, of CSV as pa.binary() (text that is no
    UTF-8 costs its row, not the file), of JSON lines as pa.string() by `as_text`.

    Memory: a batch, and the pages of the file that are open. Raises InputError that names the file
    when it cannot be read to its end.
    """
    path = part.file.path
    # One name may be asked for as two things.
    names = list(dict.fromkeys(names))
    try:
        if kind_of(path) == PARQUET:
            yield from _parquet(part, names, batch_rows)
        elif kind_of(path) == JSON_LINES:
            yield from _json_lines(path, names, batch_rows, lost, as_text)
        else:
            yield from _text(path, names, batch_rows, lost)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise problem(path, error) from None


def _parquet(part: ListPart, names: list[str], batch_rows: int) -> Iterator[Numbered]:
    row = part.row
    with open_list(part.file.path) as file:
        opened = pq.ParquetFile(file, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False)
        groups = list(range(part.first, part.stop))
        for batch in opened.iter_batches(batch_rows, groups, columns=names):
            yield batch, np.arange(row, row + len(batch))
            row += len(batch)


def _text(path: str, names: list[str], batch_rows: int, lost: Lost) -> Iterator[Numbered]:
    bad = 0

    def skip(_: object) -> str:
        nonlocal bad
        bad += 1
        return "skip"

    wanted = pa_csv.ConvertOptions(
        include_columns=names, column_types={name: pa.binary() for name in names}
    )
    form = pa_csv.ParseOptions(
        delimiter=delimiter_of(path), newlines_in_values=True, invalid_row_handler=skip
    )
    reading = pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False)
    row = 0
    with open_list(path) as file, pa_csv.open_csv(file, reading, form, wanted) as reader:
        for batch in reader:
            lost(RecordReason.UNPARSABLE, bad)
            bad = 0
            for start in range(0, len(batch), batch_rows):
                rows = batch.slice(start, batch_rows)
                yield rows, np.arange(row, row + len(rows))
                row += len(rows)
    lost(RecordReason.UNPARSABLE, bad)


def _json_lines(
    path: str, names: list[str], batch_rows: int, lost: Lost, as_text: AsText
) -> Iterator[Numbered]:
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    with open_list(path) as file:
        number = -1
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                lost(RecordReason.TOO_LARGE, 1)
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                continue
            if line.isspace():
                continue
            try:
                found = decoder.decode(line)
                rows.append([as_text(_value(found.get(name))) for name in names])
                numbers.append(number)
            except (msgspec.DecodeError, ValueError):
                lost(RecordReason.UNPARSABLE, 1)
            if len(rows) == batch_rows:
                yield _lines(names, rows, numbers)
                rows, numbers = [], []
    if rows:
        yield _lines(names, rows, numbers)


def _value(raw: msgspec.Raw | None) -> object:
    return None if raw is None else msgspec.json.decode(raw)


def _lines(names: list[str], rows: list[list[str | None]], numbers: list[int]) -> Numbered:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=names), np.array(numbers, np.int64)


def valid_text(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """(pa.string() with nulls, bool [rows]: is valid UTF-8); "" where it is not."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    data = column.cast(pa.binary())
    try:
        return data.cast(pa.string()), np.ones(len(data), np.bool_)
    except pa.ArrowInvalid:
        texts = [_decoded(value) for value in data.to_pylist()]
        good = np.fromiter((ok for _, ok in texts), np.bool_, len(texts))
        return pa.array([text for text, _ in texts], pa.string()), good


def _decoded(value: bytes | None) -> tuple[str | None, bool]:
    try:
        return (None if value is None else value.decode()), True
    except UnicodeDecodeError:
        return "", False
