"""`verify`: are the pictures that were downloaded the ones that a list says they were?

A list of URLs with what their pictures were when the list was made: SHA-256 of the file, or the
64-bit perceptual hash that COYO-700M and imagehash write, or both. No step of the line: it reads a
finished download and writes one verdict a row. Cost: one join on 16-byte keys.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.reasons import Verdict
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import ID, IMAGES, Table, column

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

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
        ]
    ),
)
# Names that public lists use. Source: the releases of COYO-700M, LAION-5B and DataComp, and what
# img2dataset writes.
_URL = ("url", "URL", "image_url")
_SHA256 = ("sha256", "expected_sha256")
_HASH64 = ("image_phash", "phash", "hash64")


class VerifySection(StageSection):
    """`[verify]`: the list, and when two pictures look the same."""

    # Parquet file, folder or glob, any URL that Spark reads. Columns by name: url, URL or
    # image_url; sha256 (hexadecimal or 32 bytes); image_phash, phash or hash64 (16 hexadecimal
    # digits or a signed 64-bit number).
    expected: str = ""
    # Of the 64-bit hashes, up to which two pictures look the same.
    max_distance: int = Field(default=6, ge=0, le=16)
    # A picture with less texture than this is judged by its SHA-256 alone.
    min_texture: int = Field(default=20, ge=0, le=100)


def check(config: VerifySection) -> object:
    """Refuse to start without a list."""
    if not config.expected:
        raise InputError(
            "verify has nothing to compare with: say EXPECTED=<Parquet file, folder or glob>, or "
            "set verify.expected"
        )
    return {}


def build(ctx: Context[VerifySection]) -> list[Account]:
    """Write `verified`; the account of the list's rows, kept where the file is the very same."""
    from pyspark.sql import functions as F

    expected = _expected(ctx)
    images = ctx.read(IMAGES).select("image_id", "status", "sha256", "hash64", "texture")
    rows = (
        expected.join(images, "image_id", "left")
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

    told = F.coalesce(F.col("expected_sha256").isNotNull(), F.lit(False))
    comparable = told | (F.col("expected_hash64").isNotNull() & F.col("distance").isNotNull())
    return (
        F.when(F.col("image_id").isNull(), str(Verdict.BAD_URL))
        .when(F.col("sha256").isNull(), str(Verdict.MISSING))
        .when(F.col("sha256") == F.col("expected_sha256"), str(Verdict.EXACT))
        .when(F.col("distance") <= config.max_distance, str(Verdict.SAME_LOOKING))
        .when(comparable, str(Verdict.CHANGED))
        .otherwise(str(Verdict.UNTOLD))
    )


def _expected(ctx: Context[VerifySection]) -> "DataFrame":
    """image_id, url, expected_sha256 and expected_hash64 of the list's rows. Raises InputError."""
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    path = ctx.config.expected
    try:
        rows = ctx.spark.read.parquet(path)
    except AnalysisException as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"verify.expected {path} cannot be read as Parquet: {first}") from None
    url = _first(rows.columns, _URL)
    sha256, hash64 = _first(rows.columns, _SHA256), _first(rows.columns, _HASH64)
    if url is None or (sha256 is None and hash64 is None):
        raise InputError(
            f"verify.expected {path} has the columns {', '.join(rows.columns)}; needed are one of "
            f"{', '.join(_URL)} and one of {', '.join(_SHA256 + _HASH64)}"
        )
    none = F.lit(None).cast("string")
    given = rows.select(
        F.coalesce(F.col(url), F.lit("")).alias("url"),
        _as_hex(rows, sha256).alias("sha256") if sha256 else none.alias("sha256"),
        _as_hex(rows, hash64).alias("hash64") if hash64 else none.alias("hash64"),
    )
    return given.mapInArrow(
        _parsed, "image_id binary, url string, expected_sha256 binary, expected_hash64 long"
    )


def _first(columns: list[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in columns), None)


def _as_hex(rows: "DataFrame", name: str) -> "Column":
    """A column as hexadecimal digits, whether the list has digits, bytes or a number."""
    from pyspark.sql import functions as F

    kind = dict(rows.dtypes)[name]
    if kind == "string":
        return F.lower(F.trim(F.col(name)))
    return F.lower(F.hex(F.col(name) if kind == "binary" else F.col(name).cast("long")))


def _parsed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    from pipeline.extract.urls import ids_of

    for batch in batches:
        given = batch.column("url")
        yield pa.RecordBatch.from_arrays(
            [
                ids_of(given),
                given,
                pa.array(map(_digest, batch.column("sha256").to_pylist()), pa.binary()),
                pa.array(map(_number, batch.column("hash64").to_pylist()), pa.int64()),
            ],
            names=["image_id", "url", "expected_sha256", "expected_hash64"],
        )


def _digest(digits: str | None) -> bytes | None:
    try:
        found = bytes.fromhex(digits or "")
    except ValueError:
        return None
    return found if len(found) == 32 else None


def _number(digits: str | None) -> int | None:
    try:
        found = bytes.fromhex(digits.rjust(16, "0")) if digits else b""
    except ValueError:
        return None
    return int.from_bytes(found, "big", signed=True) if len(found) == 8 else None


STAGE = Stage(
    name="verify",
    reads=(IMAGES,),
    writes=(VERIFIED,),
    config=VerifySection,
    build=build,
    check=check,
)
