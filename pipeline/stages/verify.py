"""`verify`: are the pictures that were downloaded the ones that a list says they were?

A list of URLs with what their pictures were when the list was made: SHA-256 or MD5 of the file, or
the 64-bit perceptual hash that COYO-700M and imagehash write, or several of them. By default it is
the list that the run was made from. No step of the line: it reads a finished download and writes
one verdict a row. Cost: the list is read once; one join on 16-byte keys.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.core import records
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.reasons import RecordReason, Verdict
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import Store
from pipeline.core.tables import ID, IMAGES, Table, column

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline.extract.lists import ListFile, ListPart

VERIFIED = Table(
    "verified",
    "One row per row of the list: whether its picture is still the one that it names.",
    ("image_id",),
    pa.schema(
        [
            column("image_id", ID, "of the URL", null="no http(s) URL"),
            column("url", pa.string(), "as the list has it"),
            column("verdict", pa.string(), "a Verdict"),
            column("status", pa.string(), "of the download", null="not in this run"),
            column("distance", pa.int32(), "of the 64-bit hashes", unit="bits", null="unknown"),
            column("expected_sha256", pa.binary(), "by the list", null="not told"),
            column("sha256", pa.binary(), "of the file received", null="no picture"),
            column("expected_md5", pa.binary(), "by the list", null="not told"),
            column("md5", pa.binary(), "of the file received", null="no picture, or not computed"),
        ]
    ),
)
# Names that public lists use, in lower case; the first that is there counts. Source: the releases
# of COYO-700M, LAION-5B and DataComp, and what img2dataset writes.
_NAMES = {
    "sha256": ("sha256", "expected_sha256"),
    "md5": ("md5", "expected_md5"),
    "hash64": ("image_phash", "phash", "hash64"),
}
_BYTES = {"sha256": 32, "md5": 16, "hash64": 8}
_ROWS_PER_PART = 2_000_000
_BATCH_ROWS = 8192
_EXPECTED_SCHEMA = pa.schema(
    [
        ("image_id", pa.binary()),
        ("url", pa.string()),
        ("expected_sha256", pa.binary()),
        ("expected_md5", pa.binary()),
        ("expected_hash64", pa.int64()),
    ]
)


class VerifySection(StageSection):
    """`[verify]`: the list, and when two pictures look the same."""

    # Files, globs or folders as extract.lists takes them; empty: those that the run was made from.
    # Columns by name: the URL as in extract.lists, or url_column; sha256 and md5 (hexadecimal or
    # bytes); image_phash, phash or hash64 (16 hexadecimal digits or a signed 64-bit number).
    # An md5 is compared where download.md5 had it computed.
    expected: tuple[str, ...] = ()
    url_column: str = ""
    # Of the 64-bit hashes, up to which two pictures look the same.
    max_distance: int = Field(default=6, ge=0, le=16)
    # A picture with less texture than this is judged by its digests alone.
    min_texture: int = Field(default=20, ge=0, le=100)


def list_of_run(store: Store) -> list[str]:
    """The settings, as `section.key=value`, that take the list which the run was made from. Raises
    InputError when it was made from none."""
    record = records.load(store, "extract") or {}
    section = record.get("config", {}).get("extract", {})
    if not section.get("lists"):
        raise InputError(
            "verify has nothing to compare with: say EXPECTED=<files of URLs and digests>, or set "
            f"verify.expected; the run in {store.root} was not made from such a list (FROM=)"
        )
    return [
        f"verify.expected={json.dumps(section['lists'])}",
        f"verify.url_column={json.dumps(section.get('url_column', ''))}",
    ]


def check(config: VerifySection) -> object:
    """Refuse to start with a list that does not say what pictures were. What the list is, is part
    of the identity."""
    return [[file.path, file.size] for file in _files(config)]


def _files(config: VerifySection) -> "tuple[ListFile, ...]":
    from pipeline.extract.lists import Wanted, list_files

    files = list_files(config.expected, Wanted(config.url_column, has_caption=False))
    for file in files:
        if not _columns(file):
            allowed = ", ".join(name for names in _NAMES.values() for name in names)
            raise InputError(
                f"list {file.path} does not say what its pictures were: its columns are "
                f"{', '.join(file.names)}; needed is one of {allowed}"
            )
    return files


def _columns(file: "ListFile") -> dict[str, str]:
    """The column of each measure that a file has."""
    by_name = {name.lower(): name for name in reversed(file.names)}
    found = {
        measure: next((by_name[name] for name in names if name in by_name), None)
        for measure, names in _NAMES.items()
    }
    return {measure: name for measure, name in found.items() if name is not None}


def build(ctx: Context[VerifySection]) -> list[Account]:
    """Write `verified`; the account of the list's rows, kept where the file is the very same."""
    from pyspark.sql import functions as F

    images = ctx.read(IMAGES).select(
        "image_id", "status", "consent", "sha256", "md5", "hash64", "texture"
    )
    rows = (
        _expected(ctx)
        .join(images, "image_id", "left")
        .withColumn("distance", _distance(ctx.config))
        .withColumn("verdict", _verdict(ctx.config))
    )
    ctx.write(VERIFIED, rows.select(*VERIFIED.schema.names))
    account = Account("rows of the list")
    for row in ctx.read(VERIFIED).groupBy("verdict").agg(F.count("*").alias("rows")).collect():
        if row["verdict"] == Verdict.EXACT:
            account.keep(row["rows"])
        else:
            account.drop(row["verdict"], row["rows"])
    return [account]


def _distance(config: VerifySection) -> "Column":
    from pyspark.sql import functions as F

    bits = F.bit_count(F.col("hash64").bitwiseXOR(F.col("expected_hash64")))
    return F.when(F.col("texture") >= config.min_texture, bits)


def _verdict(config: VerifySection) -> "Column":
    from pyspark.sql import functions as F

    def both(name: str) -> "Column":
        return F.col(name).isNotNull() & F.col(f"expected_{name}").isNotNull()

    # What another downloader stored may be its own encoding of the file that the list names.
    is_file = F.col("consent") != "adopted"
    comparable = (is_file & (both("sha256") | both("md5"))) | F.col("distance").isNotNull()
    return (
        F.when(F.col("image_id").isNull(), str(Verdict.BAD_URL))
        .when(F.col("sha256").isNull(), str(Verdict.MISSING))
        .when(F.col("sha256") == F.col("expected_sha256"), str(Verdict.EXACT))
        # Whoever forges a file to an MD5 is told by the SHA-256, where there is one.
        .when(
            F.col("expected_sha256").isNull() & (F.col("md5") == F.col("expected_md5")),
            str(Verdict.EXACT),
        )
        .when(F.col("distance") <= config.max_distance, str(Verdict.SAME_LOOKING))
        .when(comparable, str(Verdict.CHANGED))
        .otherwise(str(Verdict.UNTOLD))
    )


def _expected(ctx: Context[VerifySection]) -> "DataFrame":
    """The rows of the list, as `_EXPECTED_SCHEMA`: a task for each of its parts."""
    from pipeline.extract.lists import split

    parts = split(_files(ctx.config), _ROWS_PER_PART)
    numbers = ctx.spark.range(len(parts), numPartitions=max(len(parts), 1))
    schema = (
        "image_id binary, url string, expected_sha256 binary, expected_md5 binary, "
        "expected_hash64 long"
    )
    return numbers.mapInArrow(partial(_read, parts), schema)


def _read(
    parts: "Sequence[ListPart]", batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from read_expected(parts[number])


def read_expected(part: "ListPart") -> Iterator[pa.RecordBatch]:
    """What a part of a list says of its pictures; rows that cannot be read have no URL."""
    from pipeline.extract.list_columns import read_columns, valid_text
    from pipeline.extract.urls import ids_of

    lost = 0

    def note(_: RecordReason, rows: int) -> None:
        nonlocal lost
        lost += rows

    columns = _columns(part.file)
    names = [part.file.columns.url, *columns.values()]
    for batch, _ in read_columns(part, names, _BATCH_ROWS, note, _json_text):
        urls = pc.fill_null(valid_text(batch.column(part.file.columns.url))[0], "")
        found = {
            measure: _digests(batch.column(columns[measure]), _BYTES[measure])
            if measure in columns
            else [None] * len(batch)
            for measure in _NAMES
        }
        yield pa.RecordBatch.from_arrays(
            [
                ids_of(urls),
                urls,
                pa.array(found["sha256"], pa.binary()),
                pa.array(found["md5"], pa.binary()),
                pa.array(map(_signed, found["hash64"]), pa.int64()),
            ],
            schema=_EXPECTED_SCHEMA,
        )
    for start in range(0, lost, _BATCH_ROWS):
        rows = min(_BATCH_ROWS, lost - start)
        nothing = [pa.nulls(rows, field.type) for field in _EXPECTED_SCHEMA]
        nothing[1] = pa.repeat("", rows)
        yield pa.RecordBatch.from_arrays(nothing, schema=_EXPECTED_SCHEMA)


def _json_text(value: object) -> str | None:
    """Numbers of JSON as the hexadecimal digits that they are elsewhere; what is no text: none."""
    from pipeline.extract.list_columns import only_text

    if isinstance(value, int):
        return f"{value & (1 << 64) - 1:016x}"
    return only_text(value) if isinstance(value, str) else None


def _digests(given: pa.Array, size: int) -> list[bytes | None]:
    """The digests of a column that has digits, bytes or numbers; null where it says none."""
    if pa.types.is_dictionary(given.type):
        given = given.dictionary_decode()
    read: Callable[[Any], bytes | None]
    if pa.types.is_integer(given.type):
        read = partial(_of_number, size)
    elif pa.types.is_string(given.type) or pa.types.is_large_string(given.type):
        read = partial(_of_digits, size)
    else:
        read = partial(_of_bytes, size)
    return [None if value is None else read(value) for value in given.to_pylist()]


def _of_number(size: int, value: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "big")


def _of_digits(size: int, value: str) -> bytes | None:
    digits = value.strip()
    try:
        # A number loses the zeros that it begins with; no digest is told by nothing.
        found = bytes.fromhex(digits.rjust(16, "0") if size == _BYTES["hash64"] else digits)
    except ValueError:
        return None
    return found if digits and len(found) == size else None


def _of_bytes(size: int, value: object) -> bytes | None:
    """Bytes are the digest itself, or its digits, as CSV has them."""
    if not isinstance(value, bytes):
        return None
    return value if len(value) == size else _of_digits(size, value.decode("ascii", "replace"))


def _signed(digest: bytes | None) -> int | None:
    return None if digest is None else int.from_bytes(digest, "big", signed=True)


STAGE = Stage(
    name="verify",
    reads=(IMAGES,),
    writes=(VERIFIED,),
    config=VerifySection,
    build=build,
    check=check,
)
