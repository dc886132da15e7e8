"""cc2dataset's side of `extract-wat`; runs in the peer's environment.

`read ARCHIVE ...` times its own function for one WAT file over each; `rows FILE ARCHIVE` writes
what it finds as JSON lines. Imports nothing of ours.
"""

import json
import sys
import time
import types

# Its module imports Spark for the driver, 300 MB that reading a file does not touch.
for name in ("pyspark", "pyspark.sql", "pyspark.sql.functions"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["pyspark"].SparkContext = None
sys.modules["pyspark.sql"].SparkSession = None
sys.modules["pyspark.sql.functions"].rand = None

from cc2dataset.main import process_wat  # noqa: E402
from loguru import logger  # noqa: E402


def read(paths):
    """The images with a caption of each file, as rows of its own job."""
    rows = 0
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


if __name__ == "__main__":
    logger.remove()
    verb, *arguments = sys.argv[1:]
    print(json.dumps(read(arguments) if verb == "read" else write_rows(*arguments)))
