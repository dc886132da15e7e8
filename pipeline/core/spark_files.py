"""Parquet files of a run in Spark: by Spark itself, or by our own tasks where it cannot.

Spark reaches local folders, NAS, HDFS and what its cluster has a connector for (`s3a://`, `gs://`).
`s3://` is for where it has none: a task reads or writes each file whole, through fsspec. That costs
what Spark saves elsewhere: all columns cross to Python and back, and no condition is pushed down.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from pipeline.core.errors import ContractError
from pipeline.core.storage import Store

# In the folder of what Spark, or a task, has written: all of it is there.
DONE = "_SUCCESS"
_OWN_SCHEME = "s3://"
# Rows are collected to so much before they are written: a row group.
_GROUP_BYTES = 64 << 20
_BATCH_ROWS = 16384
_WRITTEN = pa.schema([("file", pa.string())])


def is_reached(store: Store) -> bool:
    """True where Spark reads and writes files by itself."""
    return not store.root.startswith(_OWN_SCHEME)


def read(
    spark: SparkSession, store: Store, files: Sequence[str], schema: pa.Schema, partition: str = ""
) -> DataFrame:
    """The rows of files, or of a folder of them, given by full path.

    schema: of the rows, with the partition column, which is told by the folders' names.
    """
    wanted = from_arrow_schema(schema)
    if is_reached(store):
        return spark.read.schema(wanted).parquet(*files) if files else _none(spark, schema)
    return _through_tasks(spark, store, files, schema, partition)


def read_places(
    spark: SparkSession, store: Store, files: Sequence[str], schema: pa.Schema
) -> DataFrame:
    """As `read`, with two columns more: file (full path) and row (bigint, from 0 in its file)."""
    from pyspark.sql import functions as F

    if not is_reached(store):
        fields = [*schema, pa.field("file", pa.string()), pa.field("row", pa.int64())]
        return _through_tasks(spark, store, files, pa.schema(fields), "")
    folder = F.lit(files[0].rpartition("/")[0] + "/")
    place = {
        "file": F.concat(folder, F.col("_metadata.file_name")),
        "row": F.col("_metadata.row_index"),
    }
    rows = spark.read.schema(from_arrow_schema(schema)).parquet(*files)
    return rows.select("*", *(column.alias(name) for name, column in place.items()))


def write(
    store: Store,
    folder: str,
    rows: DataFrame,
    partition: str = "",
    options: Mapping[str, str] | None = None,
) -> None:
    """Write rows as Parquet in place of what is in a folder of the run.

    partition: a column whose values get folders of their own. Each task's rows should be sorted by
    it, or tasks of ours write a file for every run of equal values. options: of Spark's writer;
    ours knows none.
    """
    if is_reached(store):
        writer = rows.write.mode("overwrite").options(**(options or {}))
        if partition:
            writer = writer.partitionBy(partition)
        writer.parquet(store.path(folder))
        return
    store.remove(folder)
    store.sweep(folder)
    schema = to_arrow_schema(rows.schema)
    work = partial(_write, store, folder, partition, schema)
    written = rows.mapInArrow(work, from_arrow_schema(_WRITTEN)).count()
    if not written and not partition:
        _publish(store, f"{folder}/part-00000-c000.parquet", schema, [])
    with store.publish(f"{folder}/{DONE}"):
        pass


def _none(spark: SparkSession, schema: pa.Schema) -> DataFrame:
    return spark.createDataFrame([], from_arrow_schema(schema))


def _through_tasks(
    spark: SparkSession, store: Store, files: Sequence[str], schema: pa.Schema, partition: str
) -> DataFrame:
    if len(files) == 1 and not files[0].endswith(".parquet"):
        files = found(store, files[0])
    if not files:
        return _none(spark, schema)
    numbers = spark.range(0, len(files), 1, len(files))
    work = partial(_read, store, list(files), schema, partition)
    return numbers.mapInArrow(work, from_arrow_schema(schema))


def found(store: Store, folder: str) -> list[str]:
    """Full paths of the Parquet files below a folder."""
    inside = store.fs._strip_protocol(store.root)
    names = [f for f in sorted(store.fs.find(folder)) if f.endswith(".parquet")]
    return [store.path(name.removeprefix(inside).lstrip("/")) for name in names]


def _read(
    store: Store,
    files: Sequence[str],
    schema: pa.Schema,
    partition: str,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    # As Spark has them: it knows no binary of a fixed size.
    sent = to_arrow_schema(from_arrow_schema(schema))
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from _rows(store, files[number], sent, partition)


def _rows(store: Store, name: str, schema: pa.Schema, partition: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file, and what its place says of them."""
    given: dict[str, object] = {"file": name}
    if partition:
        given[partition] = int(name.split(f"/{partition}=", 1)[1].split("/", 1)[0])
    first = 0
    with store.fs.open(name, "rb") as opened, pq.ParquetFile(opened) as file:
        stored = file.schema_arrow.names
        columns = [column for column in schema.names if column in stored]
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns)
            arrays = []
            for field in schema:
                if field.name in stored:
                    arrays.append(rows.column(field.name).cast(field.type))
                elif field.name in given:
                    arrays.append(pa.repeat(pa.scalar(given[field.name], field.type), len(rows)))
                elif field.name == "row":
                    arrays.append(pa.array(range(first, first + len(rows)), field.type))
                else:
                    raise ContractError(f"{name} has no column {field.name}")
            first += len(rows)
            table = pa.Table.from_arrays(arrays, schema=schema)
            yield from table.to_batches(max_chunksize=_BATCH_ROWS)


def _write(
    store: Store,
    folder: str,
    partition: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Write a task's rows; the files. Their names are the same at every attempt: it replaces what
    an earlier one has written."""
    context = TaskContext.get()
    assert context is not None
    task, names = context.partitionId(), []
    if partition:
        runs = groupby(_runs(batches, partition), key=lambda run: run[0])
        schema = schema.remove(schema.get_field_index(partition))
    else:
        runs = iter([("", (("", batch) for batch in batches))])  # type: ignore[assignment]
    for number, (value, run) in enumerate(runs):
        below = f"{folder}/{partition}={value}" if partition else folder
        name = f"{below}/part-{task:05d}-c{number:03d}.parquet"
        if _publish(store, name, schema, (batch for _, batch in run), is_needed=False):
            names.append(name)
    yield pa.RecordBatch.from_arrays([pa.array(names, pa.string())], schema=_WRITTEN)


def _runs(
    batches: Iterator[pa.RecordBatch], partition: str
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches cut where the value of a column changes, without that column."""
    for batch in batches:
        ends = pc.run_end_encode(batch.column(partition))
        rest = batch.select([n for n in batch.schema.names if n != partition])
        start = 0
        for end, value in zip(ends.run_ends.to_pylist(), ends.values.to_pylist(), strict=True):
            yield value, rest.slice(start, end - start)
            start = end


def _publish(
    store: Store,
    name: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch] | Sequence[pa.RecordBatch],
    is_needed: bool = True,
) -> bool:
    """Write a file, unless it has no rows and is not needed; whether it was written."""
    batches = iter(batches)
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None and not is_needed:
        return False
    held = [first] if first is not None else []
    with store.publish(name) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            if sum(one.nbytes for one in held) >= _GROUP_BYTES:
                _write_group(writer, held)
                held = []
            held.append(batch)
        _write_group(writer, held)
    return True


def _write_group(writer: pq.ParquetWriter, batches: Sequence[pa.RecordBatch]) -> None:
    if batches:
        writer.write_table(pa.Table.from_batches(batches).cast(writer.schema))
