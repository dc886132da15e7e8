"""How fast `match` finds every near-duplicate: Spark, block tables, audit and verification.

    make bench W=match SIZES="1e6 1e7 1e8"

Sizes are of pictures as `hashes` makes them, each in a process of its own. 100 million take some
40 GB of the folder for temporary files (TMPDIR). The JVM's heap is 1500 MB, over 20 million
pictures 3 GB; PAIRMILL_BENCH_MEMORY chooses otherwise.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from structlog.testing import capture_logs

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.fetch.settings import DownloadSection
from pipeline.match.blocks import choose_plan
from pipeline.match.candidates import pairs_of, search, whole_pieces, work_of
from pipeline.stages import match
from tests.benchmarks import machine
from tests.benchmarks.dedupe import shuffled

PICTURES = 200_000
HASHES = 1_000_000
RADIUS = 4
_BUCKET_CAP = 4096
_MB = 1 << 20


def run(sizes: Sequence[int] = (PICTURES,)) -> dict[str, Any]:
    """The whole stage. The figures of the largest size, and of all under `sizes`."""
    return _all("match", "stage", sizes)


def run_search(sizes: Sequence[int] = (HASHES,)) -> dict[str, Any]:
    """Only the search, hashes in a file to pairs in a file, the start of Spark included."""
    return _all("match-search", "search", sizes)


def _all(workload: str, what: str, sizes: Sequence[int]) -> dict[str, Any]:
    found = [apart(what, str(size)) for size in sorted(set(sizes))]
    figures = {"workload": workload} | found[-1] | {"sizes": found}
    if len(found) > 1:
        figures["growth"] = [_growth(*two) for two in zip(found, found[1:], strict=False)]
    return figures


def _growth(small: dict[str, Any], large: dict[str, Any]) -> dict[str, Any]:
    """Time grows as the number of items to the power of this."""
    more = math.log(large["items"] / small["items"])
    return {"from": small["items"], "to": large["items"]} | {
        name: round(math.log(large[name] / small[name]) / more, 3)
        for name in ("seconds", "cpu_seconds")
    }


def apart(what: str, *arguments: str) -> dict[str, Any]:
    """`stage`, `search` or `file`, as `main` takes them, in a process of its own, with the peak of all its processes' memory."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.benchmarks.match", what, str(result), *arguments]
        process = subprocess.Popen(command, start_new_session=True, stdout=2)
        try:
            # Looking costs milliseconds of a core that the work wants.
            with machine.PeakMemory(process, every_s=2.0) as peak:
                status = process.wait()
        except BaseException:
            process.kill()
            raise
        if status:
            raise RuntimeError(f"{what} of {arguments[0]} ended with {status}")
        figures: dict[str, Any] = json.loads(result.read_text())
    print(f"{what} {figures}", file=sys.stderr, flush=True)
    return figures | {"peak_rss_mb": round(peak.mb, 1)}


def stage(pictures: int) -> dict[str, Any]:
    """Make the pictures, match them, and say what that took.

    cpu_seconds: of the driver's JVM, the Python workers and this process.
    """
    from tests.benchmarks.hashes import write_images

    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    try:
        store = Store(root)
        started = time.perf_counter()
        planted = write_images(store, pictures)
        generated = time.perf_counter() - started
        spark, heap = _session(root, pictures)
        section = match.MatchSection(radius=RADIUS)
        sections = {"run": RunSection(root=root), "match": section, "download": DownloadSection()}
        context: Context[Any] = Context("match", spark, store, section, sections, {})
        with DiskPeak(Path(root)) as disk, capture_logs() as logs:
            cpu, started = machine.spark_cpu_seconds(spark), time.perf_counter()
            accounts = {account.unit: account for account in match.build(context)}
            seconds = time.perf_counter() - started
            cpu = machine.spark_cpu_seconds(spark) - cpu
        moved = shuffled(spark)
        spark.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    pairs, audited = accounts["candidate_pairs"], accounts["audited_neighbours"]
    if pairs.kept < planted:
        raise AssertionError(f"{planted} copies planted, {pairs.kept} edges found")
    told = {log.pop("event"): log for log in logs}
    return {
        "items": pictures,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "generated_rows_per_second": round(pictures / generated),
        "heap": heap,
        "planted_pairs": planted,
        "candidate_pairs": pairs.rows_in,
        "edges": pairs.kept,
        "audited_neighbours": audited.rows_in,
        "audited_recall": audited.kept / max(audited.rows_in, 1),
        "planned": told["planned"],
        "searched": told["searched"],
        "shuffled_mb": round(moved["shuffled"] / _MB, 1),
        "spilled_mb": round(moved["spilled"] / _MB, 1),
        "disk_mb": round(disk.mb, 1),
    }


def search_file(hashes: Path, pairs: Path) -> dict[str, Any]:
    """Search the distinct hashes of a Parquet file, and write the pairs.

    cpu_seconds: from before the start of the JVM, its Python workers and this process included.
    """
    count = pq.read_metadata(hashes).num_rows
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    own, started = time.process_time(), time.perf_counter()
    try:
        spark, heap = _session(root, count)
        plan = choose_plan(count, RADIUS)
        with whole_pieces(spark):
            found = search(spark.read.parquet(str(hashes)), plan, _BUCKET_CAP, count)
            found.write.parquet(root + "/found")
            found = spark.read.parquet(root + "/found")
            pairs_of(found).write.parquet(str(pairs))
            work = work_of(found)
        cpu = machine.spark_cpu_seconds(spark) - own
        seconds = time.perf_counter() - started
        moved = shuffled(spark)
        spark.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {
        "items": count,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "heap": heap,
        "blocks": plan.blocks,
        "tables": len(plan.masks),
        "rows": work.rows,
        "comparisons": work.comparisons,
        "expected_comparisons": round(plan.comparisons(count)),
        "sent_bytes": work.sent_bytes,
        "shuffled_bytes": moved["shuffled"],
        "spilled_bytes": moved["spilled"],
        "pairs": pq.ParquetDataset(pairs).read(columns=["distance"]).num_rows,
    }


def search_made(count: int) -> dict[str, Any]:
    """`search_file` of the hashes of so many made fingerprints."""
    with tempfile.TemporaryDirectory() as folder:
        hashes = Path(folder, "hashes.parquet")
        write_hashes(hashes, count)
        return search_file(hashes, Path(folder, "pairs"))


def write_hashes(path: Path, count: int) -> None:
    """The distinct hashes of so many made fingerprints, in random order."""
    from tests.benchmarks.hashes import distinct_hashes

    hashes = np.random.default_rng(3).permutation(distinct_hashes(count))
    table = pa.table({"hash64": hashes.view(np.int64)})
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1 << 20)


def _session(folder: str, rows: int) -> Any:
    heap = os.environ.get("PAIRMILL_BENCH_MEMORY") or ("3g" if rows > 20_000_000 else "1500m")
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--driver-memory {heap} --conf spark.local.dir={folder}/spark "
        "--driver-java-options -XX:+UseSerialGC pyspark-shell"
    )
    return session("benchmark match"), heap


class DiskPeak:
    """Watches how much the files of a folder take; `mb` is the most seen, every 5 seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mb = 0.0

    def __enter__(self) -> "DiskPeak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(5.0):
            total = 0
            for folder, _, files in os.walk(self._folder):
                for name in files:
                    try:
                        total += os.stat(os.path.join(folder, name)).st_blocks * 512
                    except OSError:  # it is gone
                        continue
            self.mb = max(self.mb, total / _MB)


def main(argv: Sequence[str]) -> None:
    what, result, *rest = argv
    if what == "stage":
        figures = stage(int(rest[0]))
    elif what == "search":
        figures = search_made(int(rest[0]))
    else:
        figures = search_file(Path(rest[0]), Path(rest[1]))
    Path(result).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
