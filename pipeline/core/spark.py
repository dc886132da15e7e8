"""The Spark session, and the border between Spark and Arrow schemas."""

import logging
import os
import sys
import uuid
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from pipeline.core import spark_files
from pipeline.core.errors import ContractError
from pipeline.core.storage import Store
from pipeline.core.tables import Table

CHECKPOINTS = "_checkpoints"
_CUT_IN = "pairmill.cut.root"

_SECRET_NAMES = (
    "(?i)secret|passw|token|credential|signature|authorization|"
    "(access|account|api|private)[._-]?key"
)
# Users and signatures in URLs, as `core.redact` has them.
_SECRET_TEXT = (
    r"(?i)(?<=://)[^/\s'\"<>?#]+@|(?<=[?&])(x-(amz|goog|ms|oss)-[\w-]+|sig|[\w.-]*(signature|token|"
    r"secret|credential|password|key))=[^&\s'\"<>#]+"
)

# Values that results must not depend on, or that keep a laptop within its memory; a properties
# file or --conf wins over every one of them. (The master is Spark's to default: local[*].)
DEFAULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "16",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
    # One file per part folder, whatever the number of cores.
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.ui.showConsoleProgress": "false",
    "spark.eventLog.compress": "false",
    # Pages that do not hold their checksum end the stage, see `run.explain`.
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    # What the UI, its API and Spark's own event log leave out; and what is in plans.
    "spark.redaction.regex": _SECRET_NAMES,
    "spark.redaction.string.regex": _SECRET_TEXT,
    # Where there is a UI (its port, 4040), Prometheus reads /metrics/prometheus of the driver and
    # /metrics/executors/prometheus. The namespace stands for the application's id in names.
    "spark.ui.prometheus.enabled": "true",
    "spark.metrics.namespace": "pairmill",
    "spark.metrics.conf.*.sink.prometheusServlet.class": (
        "org.apache.spark.metrics.sink.PrometheusServlet"
    ),
    "spark.metrics.conf.*.sink.prometheusServlet.path": "/metrics/prometheus",
    # Each use of a column would ask Python's stack and the JVM where it was written.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
}
# The time of workers that have ended can be counted where they are on this machine, see `usage`.
_WHERE_LOCAL = {"spark.python.daemon.module": "pipeline.core.worker_daemon"}


def session(app: str) -> SparkSession:
    """The one Spark session of this process."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # For a JVM that is started from here; under spark-submit there is one already.
    os.environ.setdefault(
        "PYSPARK_SUBMIT_ARGS",
        "--driver-memory 2g --conf spark.ui.showConsoleProgress=false pyspark-shell",
    )
    builder = SparkSession.builder.appName(app)
    existing = SparkSession.getActiveSession()
    if existing is not None:
        return existing
    from pyspark import SparkConf, SparkContext
    from pyspark.logger import PySparkLogger

    # Only the JVM knows what it was given by options and properties files; before it is there, a
    # SparkConf is empty, and every default would win over them.
    SparkContext._ensure_initialized()
    given = SparkConf()
    is_local = str(given.get("spark.master") or "local").startswith("local")
    for key, value in (DEFAULTS | (_WHERE_LOCAL if is_local else {})).items():
        if not given.contains(key):
            builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    # They print every failed query with the value that it failed for.
    for kind in ("DataFrame", "SQL"):
        PySparkLogger.getLogger(f"{kind}QueryContextLogger").setLevel(logging.CRITICAL + 1)
    return spark


def keep_checkpoints(spark: SparkSession, store: Store) -> None:
    """Where executors can be lost, what `cut` computes is kept in the run's folder."""
    if str(spark.sparkContext.master).startswith("local"):
        return
    if spark_files.is_reached(store):
        spark.sparkContext.setCheckpointDir(store.path(CHECKPOINTS))
    else:
        spark.conf.set(_CUT_IN, store.root)


def cut(rows: DataFrame) -> DataFrame:
    """The rows, computed now and cut from how they came about, so that the plans of what is asked
    of them stay small. A lost executor takes no rows along, see `keep_checkpoints`."""
    spark = rows.sparkSession
    if folder := spark.conf.get(_CUT_IN, None):
        store, name = Store(folder), f"{CHECKPOINTS}/{uuid.uuid4().hex}"
        spark_files.write(store, name, rows)
        return spark_files.read(spark, store, [store.path(name)], to_arrow_schema(rows.schema))
    if spark.sparkContext.getCheckpointDir() is None:
        return rows.localCheckpoint()
    return rows.checkpoint()


def hold(rows: DataFrame, held: ExitStack) -> DataFrame:
    """The rows, computed once when first asked for, and kept until `held` is closed.

    On disk: a heap of the usual size has no room for a column of ids beside what works on it, and
    collects garbage half of the time; what is read again soon is in the system's memory anyway.
    Partitioning and order are known of them still, which `cut` forgets.
    """
    kept = rows.persist(StorageLevel.DISK_ONLY)
    held.callback(kept.unpersist)
    return kept


def read_table(spark: SparkSession, store: Store, table: Table) -> DataFrame:
    """A table of a run. Raises ContractError when its columns are not those of the schema."""
    if not store.exists(table.name):
        raise ContractError(
            f"table {table.name} is not in {store.root}; run the stage that writes it first"
        )
    wanted = from_arrow_schema(table.schema)
    if not spark_files.is_reached(store):
        files = list(store.committed(table).values()) or [store.path(table.name)]
        return spark_files.read(spark, store, files, table.schema, table.partition or "")
    if table.partition and not store.fs.glob(store.path(table.name, f"{table.partition}=*")):
        # Spark writes no file at all for a partitioned table without rows.
        return spark.createDataFrame([], wanted)
    # As a folder, of which Spark passes over what begins with "." or "_": each of many paths would
    # go to the JVM by itself.
    folder = store.path(table.name)
    check_schema(spark.read.parquet(folder), table)
    return spark.read.schema(wanted).parquet(folder)


def check_schema(rows: DataFrame, table: Table) -> None:
    """Raise ContractError unless `rows` has the table's columns, by name and type."""
    wanted = {f.name: f.dataType.simpleString() for f in from_arrow_schema(table.schema)}
    found = {f.name: f.dataType.simpleString() for f in rows.schema}
    missing = wanted.keys() - found.keys()
    extra = found.keys() - wanted.keys()
    wrong = {n for n in wanted.keys() & found.keys() if wanted[n] != found[n]}
    if missing or extra or wrong:
        raise ContractError(
            f"table {table.name}: missing columns {sorted(missing)}, unexpected {sorted(extra)}, "
            f"wrong types {[f'{n}: {found[n]}, not {wanted[n]}' for n in sorted(wrong)]}"
        )


def write_table(store: Store, table: Table, rows: DataFrame, codec: str = "zstd") -> int:
    """Write a query stage's table, whole; how many rows it has.

    codec: of Parquet, as Spark names it. "lz4_raw" takes a third of the time of "zstd", and is no
    worse for ids and numbers, which neither makes smaller.

    Raises ContractError when columns differ or a column that may not be null holds a null.
    """
    rows = rows.select(*table.schema.names)
    check_schema(rows, table)
    options = {"compression": codec}
    for name in table.schema.names:
        if pa.types.is_binary(table.schema.field(name).type):  # ids, which hardly recur
            options[f"parquet.enable.dictionary#{name}"] = "false"
    spark_files.write(store, table.name, rows, table.partition or "", options)
    return _check_written(store, table)


def _check_written(store: Store, table: Table) -> int:
    rows = 0
    not_null = {f.name for f in table.schema if not f.nullable and not pa.types.is_nested(f.type)}
    for name in store.fs.find(store.path(table.name)):
        if not name.endswith(".parquet"):
            continue
        with store.fs.open(name, "rb") as file:
            metadata = pq.read_metadata(file)
        rows += metadata.num_rows
        for g in range(metadata.num_row_groups):
            for c in range(metadata.num_columns):
                chunk = metadata.row_group(g).column(c)
                nulls = chunk.statistics.null_count if chunk.statistics else 0
                if nulls and chunk.path_in_schema in not_null:
                    raise ContractError(
                        f"table {table.name}: {nulls} nulls in {chunk.path_in_schema}, "
                        "which may not be null"
                    )
    return rows
