"""A job that fails in the ways in which libraries quote what they read. Submitted by test_watched.

argv: the run folder, the caption that is read, and a URL with credentials.
"""

import sys
from typing import Any

import pyarrow as pa
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.config import Config, RunSection
from pipeline.core.context import Context
from pipeline.core.run import guarded, run
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import PartSink
from pipeline.core.tables import Table, column

TABLE = Table("numbers", "Numbers.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))


def in_arrow(part: int, caption: str, sink: PartSink) -> None:
    sink.write(pa.table({"n": pa.array([caption]).cast(pa.int64())}))


def at_storage(part: int, url: str, sink: PartSink) -> None:
    raise OSError(f"403 for {url}: secret_key={url[-14:]}")


def main(root: str, caption: str, url: str) -> None:
    def arrow(ctx: Context[Any]) -> list[Account]:
        return ctx.run_parts(TABLE, in_arrow, [(0, caption)])

    def storage(ctx: Context[Any]) -> list[Account]:
        return ctx.run_parts(TABLE, at_storage, [(0, url)])

    def query(ctx: Context[Any]) -> list[Account]:
        rows = ctx.spark.createDataFrame([(caption,)], "c string")
        ctx.write(TABLE, rows.select(F.col("c").cast("bigint").alias("n")))
        return []

    for number, build in enumerate((arrow, storage, query)):
        line = (Stage("leak", (), (TABLE,), StageSection, build),)
        sections = {"run": RunSection(root=f"{root}/{number}"), "leak": StageSection()}
        status = guarded(lambda line=line, s=sections: run(["leak"], line, Config(s, {})))
        print(f"status {status}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
