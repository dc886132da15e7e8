"""Lists of image URLs and captions, as datasets are released: which files, and how they are cut.

Parquet is read by row groups, so that one file of billions of rows is many parts; CSV, TSV and
JSON lines, gzip or not, are one part a file. `list_columns` reads the columns of a part.
"""

import csv
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import fsspec
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.redact import mask

PARQUET, CSV, TSV, JSON_LINES = "parquet", "csv", "tsv", "jsonl"
_ENDINGS = {
    ".parquet": PARQUET,
    ".csv": CSV,
    ".tsv": TSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
}
# What releases name their columns, the likeliest first; letter case does not matter. Source: the
# cards of COYO-700M and DataComp (url, text), LAION-400M and 5B (URL, TEXT), CC12M as converted
# for img2dataset and its own output (url, caption).
URL_COLUMNS = ("url", "image_url", "img_url", "image_link")
CAPTION_COLUMNS = ("text", "caption", "alt_text", "alt")
PAGE_COLUMNS = ("page_url", "source_url", "page")
_READS_AT_ONCE = 16
# A line of a text file beyond this is no row of a list.
MAX_LINE_BYTES = 4 << 20


class Columns(msgspec.Struct, frozen=True):
    """Names of the columns of one file. caption, page: "" when it has none, or none is wanted."""

    url: str
    caption: str = ""
    page: str = ""


class ListFile(msgspec.Struct, frozen=True):
    """A file of a list. names: of all its columns. rows: of each row group; empty for text, which
    is read in one go."""

    path: str
    size: int
    columns: Columns
    names: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()


class ListPart(msgspec.Struct, frozen=True):
    """Row groups [first, stop) of a file, the first of whose rows is number `row`; a text file
    whole, where stop is 0."""

    file: ListFile
    first: int = 0
    stop: int = 0
    row: int = 0


@dataclass(frozen=True)
class Wanted:
    """Column names to take; "" for the first known one. has_caption: False: the URL will do."""

    url: str = ""
    caption: str = ""
    page: str = ""
    has_caption: bool = True


def kind_of(path: str) -> str | None:
    """How a file is read, by the end of its name; None when it is no list."""
    name = path.lower().removesuffix(".gz")
    kind = next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)
    return None if kind == PARQUET and path.lower().endswith(".gz") else kind


@lru_cache(maxsize=8)
def list_files(patterns: tuple[str, ...], wanted: Wanted) -> tuple[ListFile, ...]:
    """The files that paths, globs and folders name (any fsspec URL), by path, each once.

    Folders are searched to the bottom; names that begin with a dot or underscore are passed over.
    Raises InputError that names the file, what was found there and what is allowed.
    """
    found: dict[str, int] = {}
    for pattern in patterns:
        found.update(_expand(pattern))
    paths = sorted(found)
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        return tuple(pool.map(lambda path: _inspect(path, found[path], wanted), paths))


def split(files: Sequence[ListFile], rows_per_part: int) -> list[ListPart]:
    """Parts of about `rows_per_part` rows, of whole row groups; text files are one part each."""
    parts = []
    for file in files:
        if kind_of(file.path) != PARQUET:
            parts.append(ListPart(file))
            continue
        first = row = held = 0
        for group, rows in enumerate(file.rows):
            if held and held + rows > rows_per_part:
                parts.append(ListPart(file, first, group, row))
                first, row, held = group, row + held, 0
            held += rows
        if held:
            parts.append(ListPart(file, first, len(file.rows), row))
    return parts


def open_list(path: str) -> IO[bytes]:
    """The file's bytes, inflated where it is gzip and not Parquet."""
    packed = "gzip" if path.lower().endswith(".gz") else None
    opened: Any = fsspec.open(path, "rb", compression=packed).open()
    return opened  # type: ignore[no-any-return]


def problem(path: str, why: object) -> InputError:
    """What is wrong with a file, naming it."""
    text = str(why).strip() or type(why).__name__
    return InputError(f"list {path} cannot be read: {mask(text.splitlines()[0])[:300]}")


def _expand(pattern: str) -> dict[str, int]:
    """path -> bytes of the files that a path, glob or folder names."""
    allowed = ", ".join(_ENDINGS) + " (text also as .gz)"
    try:
        fs, path = fsspec.core.url_to_fs(pattern)
        if fs.isfile(path):
            if kind_of(path) is None:
                raise InputError(f"list {pattern} is of no known kind; allowed are {allowed}")
            return {_name(fs, path, pattern): fs.size(path) or 0}
        is_folder = fs.isdir(path)
        if is_folder:
            below = fs.find(path, detail=True)
        else:
            below = {p: i for p, i in fs.glob(path, detail=True).items() if i["type"] == "file"}
    except (OSError, ValueError, ImportError) as error:
        raise problem(pattern, error) from None
    if not below:
        raise InputError(f"no list at {pattern}" + (": the folder is empty" if is_folder else ""))
    root = path.rstrip("/") if is_folder else ""
    lists = {
        _name(fs, p, pattern): int(info.get("size") or 0)
        for p, info in below.items()
        if kind_of(p) and not _is_hidden(p.removeprefix(root) if root else posixpath.basename(p))
    }
    if not lists:
        seen = sorted({posixpath.splitext(p)[1] or posixpath.basename(p) for p in below})
        raise InputError(
            f"no list among the {len(below)} files of {pattern} (found {', '.join(seen[:8])}); "
            f"allowed are {allowed}"
        )
    return lists


def _is_hidden(path: str) -> bool:
    return any(step.startswith((".", "_")) for step in path.split("/") if step)


def _name(fs: Any, path: str, pattern: str) -> str:
    return str(fs.unstrip_protocol(path)) if "://" in pattern else path


def _inspect(path: str, size: int, wanted: Wanted) -> ListFile:
    try:
        if kind_of(path) == PARQUET:
            with open_list(path) as file:
                footer = pq.read_metadata(file)
            schema = footer.schema.to_arrow_schema()
            columns = _choose(path, schema.names, wanted)
            _check_types(path, schema, columns)
            rows = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
            return ListFile(path, size, columns, tuple(schema.names), rows)
        with open_list(path) as file:
            line = file.readline(MAX_LINE_BYTES)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise problem(path, error) from None
    names = _header(path, line)
    return ListFile(path, size, _choose(path, names, wanted), tuple(names))


def _header(path: str, line: bytes) -> list[str]:
    """The columns that the first line of a text file tells."""
    if not line.strip():
        raise InputError(f"list {path} is empty: its first line must name the columns")
    try:
        if kind_of(path) == JSON_LINES:
            first = msgspec.json.decode(line)
            if not isinstance(first, dict):
                raise ValueError("the first line is no JSON object")
            return list(first)
        text = line.decode("utf-8-sig").rstrip("\r\n")
        return next(csv.reader([text], delimiter=delimiter_of(path)))
    except (ValueError, csv.Error) as error:
        raise problem(path, error) from None


def delimiter_of(path: str) -> str:
    """What stands between the columns of a text file."""
    return "\t" if kind_of(path) == TSV else ","


def _choose(path: str, names: Sequence[str], wanted: Wanted) -> Columns:
    url = _find(path, "url", names, wanted.url, URL_COLUMNS)
    if not wanted.has_caption:
        return Columns(url)
    caption = _find(path, "caption", names, wanted.caption, CAPTION_COLUMNS)
    has_page = wanted.page or any(name.lower() in PAGE_COLUMNS for name in names)
    page = _find(path, "page_url", names, wanted.page, PAGE_COLUMNS) if has_page else ""
    return Columns(url, caption, page)


def _find(path: str, what: str, names: Sequence[str], wanted: str, known: Sequence[str]) -> str:
    if wanted:
        chosen = [name for name in names if name == wanted]
    else:
        chosen = [name for k in known for name in names if name.lower() == k][:1]
    if len(chosen) == 1:
        return chosen[0]
    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    if chosen:
        raise InputError(f"list {path} has {len(chosen)} columns {wanted!r} among {shown}")
    looked_for = repr(wanted) if wanted else f"one of {', '.join(known)}"
    raise InputError(
        f"list {path} has no {what} column: found {shown}; expected {looked_for}; "
        f"name it with extract.{what}_column"
    )


def _check_types(path: str, schema: pa.Schema, columns: Columns) -> None:
    for name in filter(None, (columns.url, columns.caption, columns.page)):
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_text = pa.types.is_string(plain) or pa.types.is_large_string(plain)
        if not (is_text or pa.types.is_binary(plain) or pa.types.is_null(plain)):
            raise InputError(f"list {path}: column {name!r} is {kind}; expected a string")
