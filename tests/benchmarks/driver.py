"""What the driver holds for the parts of a run: its own memory and its JVM's, by number of parts.

Part files, candidates in folders and raw tars are there (links to a few small ones); the driver does
what the stages have it do with them: list what is done and missing, run the missing ones, add up the
accounts, hand parts out to the download, read tables, look whether files are lost.
"""

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core import raw, records
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.spark import read_table
from pipeline.core.stage import StageSection
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import CANDIDATES, SHARDS
from pipeline.fetch.settings import DownloadSection
from pipeline.stages import download
from tests.conftest import SPARK_CONF

_FEW, _MANY = 1_000, 100_000
_LINKS = 20_000  # of one file; ext4 allows 65,000
_MISSING = 4
_NO_OPS = 20  # a task each, of so many parts
# What many parts may cost beside few.
MOST_PYTHON_MB, MOST_JVM_MB = 300.0, 300.0


def run() -> dict[str, object]:
    """Both numbers of parts, each in a process of its own; items are parts."""
    started = time.perf_counter()
    few, many = _in_process(_FEW), _in_process(_MANY)
    grown = {
        step: {kind: round(many["steps"][step][kind] - few["steps"][step][kind], 1) for kind in
               ("python_mb", "jvm_mb")}
        for step in many["steps"]
    }  # fmt: skip
    return {
        "workload": "driver",
        "items": _MANY,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": few["cpu_seconds"] + many["cpu_seconds"],
        "peak_rss_mb": many["peak_mb"],
        "few": few,
        "many": many,
        "grown_mb": grown,
    }


def _in_process(parts: int) -> dict[str, Any]:
    child = [sys.executable, "-m", "tests.benchmarks.driver", str(parts)]
    done = subprocess.run(child, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(parts: int) -> dict[str, Any]:
    """Run the steps on so many parts; seconds, the Python process's memory and what lives in the
    JVM's heap after each."""
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--properties-file {SPARK_CONF} pyspark-shell"
    root = Path(tempfile.mkdtemp(prefix="bench-driver-"))
    try:
        _lay_out(root, parts)
        return _steps(root, parts)
    finally:
        shutil.rmtree(root)


def _lay_out(root: Path, parts: int) -> None:
    """Files of a run of so many parts."""
    store = Store(str(root))
    row = {"shard": 0, "path": "00000.tar", "samples": 1, "bytes": 1, "sha256": "0" * 64}
    account = Account("samples", 1, 1)
    sources = []
    for number in range(-(-parts // _LINKS)):
        seed = Store(str(root / f"seed-{number}"))
        with seed.publish_part(SHARDS, 0) as sink:
            sink.write_rows([row])
            sink.accounts.append(account)
        sources.append(seed.path(seed.part_file(SHARDS, 0)))
    for folder in (SHARDS.name, CANDIDATES.name, raw.FOLDER):
        (root / folder).mkdir()
    for part in range(parts):
        source = sources[part // _LINKS]
        os.link(source, store.path(store.part_file(SHARDS, part)))
        os.mkdir(root / CANDIDATES.name / f"{CANDIDATES.partition}={part}")
        (root / raw.path(part)).touch()
    for part in range(0, parts, max(1, parts // _MISSING)):
        os.unlink(store.path(store.part_file(SHARDS, part)))


def _work(part: int, payload: int, sink: PartSink) -> None:
    sink.accounts.append(Account("samples", 1, 1))


def _steps(root: Path, parts: int) -> dict[str, Any]:
    from pipeline.core.spark import session

    spark = session("driver")
    store = Store(str(root))
    context: Context[Any] = Context("shard", spark, store, StageSection(), {}, {})
    fetching = DownloadSection(contact="bench@example.org", check_dns=False, alarm="off")
    downloading: Context[Any] = Context("download", spark, store, fetching, {}, {})
    steps: dict[str, dict[str, float]] = {}

    def step(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        steps[name] = {"seconds": round(seconds, 2)} | _memory(spark)
        print(f"driver: {parts} parts: {name}: {steps[name]}", file=sys.stderr, flush=True)

    step("start", lambda: spark.range(1).count())
    step("missing parts", lambda: context.run_parts(SHARDS, _work, [(p, p) for p in range(parts)]))
    step("download", lambda: _download(downloading, parts))
    step("tasks", lambda: _tasks(context, parts))
    step("read a table", lambda: read_table(spark, store, SHARDS).count())
    stage = download.STAGE
    step("look for lost files", lambda: records.files_of(store, stage))
    peak = _status("VmHWM")
    spark.stop()
    return {
        "parts": parts,
        "steps": steps,
        "peak_mb": peak,
        "cpu_seconds": round(time.process_time(), 2),
    }


def _download(context: Context[Any], parts: int) -> None:
    """What the download's driver does around its tasks."""
    download._forget_lost(context.store)
    with download.sharing(context, _open, list(range(parts))):
        pass


def _open(part: int) -> Any:
    raise AssertionError(f"part {part}: the driver opens none, its tasks do")


def _tasks(context: Context[Any], parts: int) -> None:
    """As many tasks as a stage of a twentieth of the parts has: a task takes milliseconds here."""
    folder = Context(
        context.stage, context.spark, Store(context.store.path("no-ops")), StageSection(), {}, {}
    )
    folder.run_parts(SHARDS, _work, [(p, p) for p in range(parts // _NO_OPS)])


def _memory(spark: Any) -> dict[str, float]:
    gc.collect()
    jvm = spark.sparkContext._jvm
    jvm.java.lang.System.gc()
    runtime = jvm.java.lang.Runtime.getRuntime()
    live = (runtime.totalMemory() - runtime.freeMemory()) / 2**20
    return {"python_mb": _status("VmHWM"), "jvm_mb": round(live, 1)}


def _status(key: str) -> float:
    """MB of a line of /proc/self/status; VmHWM is the most that was resident so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(t.split()[1]) for t in lines if t.startswith(key)) / 1024, 1)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
