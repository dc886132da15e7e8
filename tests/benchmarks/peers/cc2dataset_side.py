"""cc2dataset's side of `extract-wat` and `line`; runs in the peer's environment.

`read ARCHIVE ...` times its own function for one WAT file over each; `rows FILE ARCHIVE` writes
what it finds as JSON lines; `line SITE FOLDER ARCHIVE ...` is its whole job with Spark, out of the
packages in SITE, into a folder of Parquet. Imports nothing of ours.
"""

import gc
import json
import sys
import time
import types

if sys.argv[1] == "line":
    sys.path.append(sys.argv[2])
else:
    # Its module imports Spark for the driver, 300 MB that reading a file does not touch.
    for name in ("pyspark", "pyspark.sql", "pyspark.sql.functions"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["pyspark"].SparkContext = None
    sys.modules["pyspark.sql"].SparkSession = None
    sys.modules["pyspark.sql.functions"].rand = None

from cc2dataset.main import deduplicate_repartition_count, process_wat  # noqa: E402
from cc2dataset.spark_session_builder import build_spark_session  # noqa: E402
from loguru import logger  # noqa: E402


def read(paths):
    """The images with a caption of each file, as rows of its own job."""
    rows = 0
    # As our side does, which is after what the stage's processes do.
    gc.collect()
    gc.freeze()
    seconds, cpu_seconds = time.perf_counter(), time.process_time()
    for path in paths:
        for _ in process_wat(path, "image"):
            rows += 1
    return {
        "rows": rows,
        "seconds": time.perf_counter() - seconds,
        "cpu_seconds": time.process_time() - cpu_seconds,
    }


def write_rows(target, path):
    """Distinct (uid, url, alt, page_url), one JSON list a line."""
    found = {(uid, url, alt, page) for uid, url, alt, _, page in process_wat(path, "image")}
    with open(target, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in sorted(found))
    return {"rows": len(found)}


def job(folder, paths):
    """Its `process_one_part`, but for the address of Common Crawl before every path."""
    spark = build_spark_session("local", 2, 2)
    spark.sparkContext.setLogLevel("ERROR")
    archives = spark.sparkContext.parallelize(paths, len(paths))
    found = archives.mapPartitions(lambda some: process_wat(next(iter(some)), "image"))
    rows = found.toDF(["uid", "url", "alt", "cc_filename", "page_url"])
    deduplicate_repartition_count(rows, folder, len(paths), spark, True)
    spark.stop()


if __name__ == "__main__":
    logger.remove()
    verb, *arguments = sys.argv[1:]
    if verb == "line":
        job(arguments[1], arguments[2:])
    else:
        print(json.dumps(read(arguments) if verb == "read" else write_rows(*arguments)))
