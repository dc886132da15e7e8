"""Tables of a run on s3://, where Spark has no file system: our tasks read and write the same rows."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline.core import spark_files
from pipeline.core.errors import ContractError
from pipeline.core.spark import cut, read_table, write_table
from pipeline.core.storage import Store
from pipeline.core.tables import ID, Table, column

pytestmark = pytest.mark.spark
ENTRY = pa.struct([pa.field("text", pa.string(), False), pa.field("id", ID, False)])
FIELDS = [
    column("id", ID, "of the row"),
    column("n", pa.int32(), "a number", null="none"),
    column("entries", pa.list_(ENTRY), "nested"),
    column("score", pa.float32(), "may be no number"),
]
WHOLE = Table("whole", "Test rows.", ("id",), pa.schema(FIELDS))
SPLIT = Table(
    "split",
    "Test rows in folders.",
    ("id",),
    pa.schema([*FIELDS, column("part", pa.int32(), "its folder")]),
    partition="part",
)


@pytest.fixture(scope="module")
def store(s3: Any, spark: SparkSession) -> Iterator[Store]:
    s3.mkdir("tables")
    # Spark's workers have what was set when it started, which was for other tests.
    given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    spark.sparkContext.environment |= given
    yield Store("s3://tables/run")
    for name in given:
        del spark.sparkContext.environment[name]


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": number.to_bytes(16, "big"),
            "n": None if number % 7 == 0 else number,
            "entries": [{"text": f"고양이 {number}", "id": bytes(16)}] * (number % 3),
            "score": number / 2,
            "part": number % 5 * 2,
        }
        for number in range(count)
    ]


def frame(spark: SparkSession, table: Table, count: int) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    names = table.schema.names
    given = [{name: row[name] for name in names} for row in rows(count)]
    return spark.createDataFrame(given, from_arrow_schema(table.schema))


def told(found: Any, table: Table) -> list[dict[str, Any]]:
    listed = [row.asDict(recursive=True) for row in found.orderBy("id").collect()]
    return [{name: row[name] for name in table.schema.names} for row in listed]


@pytest.mark.parametrize("table", [WHOLE, SPLIT], ids=lambda table: table.name)
def test_a_table_is_read_as_it_was_written(
    spark: SparkSession, store: Store, tmp_path: Path, table: Table
) -> None:
    written = frame(spark, table, 1000).repartition(3)
    if table.partition:
        written = written.sortWithinPartitions(table.partition)
    assert write_table(store, table, written) == 1000
    found = told(read_table(spark, store, table), table)
    here = Store(str(tmp_path))
    write_table(here, table, written)
    assert found == told(read_table(spark, here, table), table)
    assert found == [{n: row[n] for n in table.schema.names} for row in rows(1000)]
    if table.partition:
        folders = {name.split("/")[-2] for name in spark_files.found(store, store.path("split"))}
        assert folders == {f"part={part}" for part in (0, 2, 4, 6, 8)}
        part = [row for batch in store.read_part(table, 4) for row in batch.to_pylist()]
        assert len(part) == 200
    # Written again, with fewer rows, nothing of what was there is left.
    assert write_table(store, table, frame(spark, table, 10)) == 10
    assert read_table(spark, store, table).count() == 10
    assert write_table(store, table, frame(spark, table, 0)) == 0
    assert read_table(spark, store, table).count() == 0


def test_places_are_files_and_rows(spark: SparkSession, store: Store) -> None:
    with store.publish_part(WHOLE, 0) as sink:
        sink.write_rows([{n: row[n] for n in WHOLE.schema.names} for row in rows(10)])
        sink.write_rows([{n: row[n] for n in WHOLE.schema.names} for row in rows(5)])
    file = store.path(store.part_file(WHOLE, 0))
    schema = pa.schema([WHOLE.schema.field("id")])
    found = spark_files.read_places(spark, store, [file], schema).orderBy("row").collect()
    assert [(row.file, row.row) for row in found] == [(file, number) for number in range(15)]
    assert [int.from_bytes(row.id, "big") for row in found] == [*range(10), *range(5)]


def test_a_file_without_a_wanted_column_is_named(spark: SparkSession, store: Store) -> None:
    other = Table("other", "Test rows.", ("id",), pa.schema(FIELDS[:2]))
    write_table(store, other, frame(spark, WHOLE, 3).select("id", "n"))
    wanted = Table("other", "Test rows.", ("id",), WHOLE.schema)
    with pytest.raises(Exception, match="other/part-.* has no column entries") as error:
        read_table(spark, store, wanted).count()
    assert ContractError.__name__ in str(error.value)


def test_rows_that_are_cut_lie_in_the_run(spark: SparkSession, store: Store) -> None:
    spark.conf.set("pairmill.cut.root", store.root)
    try:
        kept = cut(frame(spark, WHOLE, 20).where(F.col("score") > 4))
        assert told(kept, WHOLE) == [
            {n: row[n] for n in WHOLE.schema.names} for row in rows(20) if row["score"] > 4
        ]
    finally:
        spark.conf.unset("pairmill.cut.root")
