"""Rates of extract: its inner loop beside a loop that only inflates and walks, and its stage.

The inputs are of `archives`: real archives where they are at hand, generated ones elsewhere, of
320 MB compressed. `python -m tests.benchmarks.extract ARCHIVE ...` reads archives, as one side of
a comparison with a peer, and prints its figures.
"""

import gc
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.benchmarks.archives import Input, Kind, Origin, archives, origin

_MAX_RECORD_BYTES, _MAX_LINKS, _BATCH_ROWS = 32 << 20, 10_000, 8192  # as the stage has them
_WARM_BYTES = 8 << 20
_REPEATS = 16
ROOT = Path(__file__).resolve().parents[2]


def run_wat() -> dict[str, object]:
    """The WAT records of a crawl: of requests, responses and others, pages or not."""
    return _measure("extract-wat", "wat", origin())


def run_wat_generated() -> dict[str, object]:
    """Three WAT records for each page, of 17 KB where it is the page's."""
    return _measure("extract-wat-generated", "wat", "generated")


def run_warc() -> dict[str, object]:
    """HTML pages with status 200, and nothing else."""
    return _measure("extract-warc", "warc", origin())


def run_warc_generated() -> dict[str, object]:
    """HTML pages of 52 KB."""
    return _measure("extract-warc-generated", "warc", "generated")


def read(paths: Iterable[Path], folder: Path | None = None) -> dict[str, float]:
    """Read archives as the stage does: pages, records, pairs, seconds, cpu_seconds, bytes.

    folder: where their pairs are written, as the stage writes them; nowhere without one.
    """
    from pipeline.core.storage import Store
    from pipeline.core.tables import PAIRS
    from pipeline.extract.rows import PairRows, read_archive
    from pipeline.stages.extract import write_pairs

    total: Counter[str] = Counter()
    seconds = cpu_seconds = 0.0
    for path in paths:
        forget()
        seconds, cpu_seconds = seconds - time.perf_counter(), cpu_seconds - time.process_time()
        rows = PairRows(path.name, _MAX_LINKS)
        with path.open("rb") as file, ExitStack() as opened:
            batches = read_archive(file, rows, _MAX_RECORD_BYTES, _BATCH_ROWS)
            if folder is None:
                for _ in batches:
                    pass
            else:
                sink = opened.enter_context(Store(str(folder / path.name)).publish_part(PAIRS, 0))
                write_pairs(batches, sink)
        seconds, cpu_seconds = seconds + time.perf_counter(), cpu_seconds + time.process_time()
        total["pages"] += rows.records.kept
        total["records"] += rows.records.rows_in
        total["pairs"] += rows.pairs.kept
    return {**total, "seconds": seconds, "cpu_seconds": cpu_seconds}


def walk(path: Path) -> tuple[int, int, float]:
    """(records, plain bytes of their blocks, CPU seconds) of inflating an archive and no more."""
    from fastwarc.warc import ArchiveIterator

    records = size = 0
    cpu_seconds = time.process_time()
    with path.open("rb") as file:
        for record in ArchiveIterator(file, parse_http=False):
            size += len(record.reader.read())
            records += 1
    return records, size, time.process_time() - cpu_seconds


def warm(path: Path) -> None:
    """Load or compile every kernel, and what is loaded on first use; what is there then is never
    garbage, as in the processes that the stage forks."""
    from pipeline.extract.rows import PairRows, read_archive

    with path.open("rb") as file:
        start = io.BytesIO(file.read(_WARM_BYTES))
    for _ in read_archive(start, PairRows("warm-up", _MAX_LINKS), _MAX_RECORD_BYTES, _BATCH_ROWS):
        pass
    gc.collect()
    gc.freeze()


def forget() -> None:
    """Empty the pipeline's bounded caches.

    Records repeat in the inputs, where a crawl's do not: a cache of hosts would be asked for
    nothing new.
    """
    for name, module in list(sys.modules.items()):
        for value in list(vars(module).values()) if name.startswith("pipeline.") else ():
            if hasattr(value, "cache_parameters"):
                size = value.cache_parameters()["maxsize"]
                if size is not None and size > 64:
                    value.cache_clear()


def _measure(workload: str, kind: Kind, origin: Origin) -> dict[str, object]:
    """Both loops in turn over each archive, in this process."""
    source = archives(kind, origin)
    warm(source.files[0])
    rounds, walks = [], []
    for number, path in enumerate(source.files):
        if number % 2:
            walks.append(walk(path))
        rounds.append(read([path]))
        if number % 2 == 0:
            walks.append(walk(path))
    total: Counter[str] = Counter()
    for figures in rounds:
        total.update(figures)
    both = list(zip(rounds, walks, strict=True))
    assert total["records"] >= source.records == sum(records for records, _, _ in walks)
    return {
        "workload": workload,
        "items": int(total["pages"]),
        "seconds": total["seconds"],
        "cpu_seconds": total["cpu_seconds"],
        "records": int(total["records"]),
        "pairs": int(total["pairs"]),
        "walk_items_per_core_second": round(
            statistics.median(r["pages"] / w for r, (_, _, w) in both)
        ),
        "of_walk_rate": round(statistics.median(w / r["cpu_seconds"] for r, (_, _, w) in both), 4),
        "of_walk_rates": [round(w / r["cpu_seconds"], 4) for r, (_, _, w) in both],
        "plain_mb_per_core_second": round(
            sum(s for _, s, _ in walks) / 1e6 / total["cpu_seconds"], 1
        ),
        **_about(source),
    }


def _about(source: Input) -> dict[str, object]:
    return {
        "input": source.origin,
        "archives": len(source.paths),
        "archive_bytes": sum(path.stat().st_size for path in source.files),
        "distinct_archive_bytes": source.distinct_bytes,
        "distinct_records": source.distinct_records,
    }


def run_stage() -> dict[str, object]:
    """The stage through Spark on two cores, beside its inner loop in one process and in two.

    of_two_cores: its pages a second over twice the loop's pages per core-second when it runs
    alone; of_two_busy_cores: the same when two run at once, as two threads of one core share it;
    of_two_writing_cores: when two run at once that write their pairs too, as the stage does.
    All archives together are one of 320 MB, as Common Crawl's are, which is read _REPEATS times under
    as many names, so that the ends of archives do not count for more than they do. Two small ones
    are read before, in start_seconds: a crawl's stage starts its processes once, in hours.
    of_loop: its pages per core-second, Spark's and all processes' time, over that of the busy loop.
    """
    source = archives("wat", origin())
    alone, together = [_rate(source.files[:2], 1)], [_rate(source.files[2:6], 2)]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        with whole.open("wb") as file:
            for path in source.files:
                file.write(path.read_bytes())
        links = [Path(folder, f"{n}.warc.wat.gz") for n in range(_REPEATS)]
        for link in links:
            link.symlink_to(whole)
        start_seconds, pages, pairs, seconds, cpu_seconds = _run_stage(source.files[:2], links)
        writing = _rate(source.files[2:6], 2, Path(folder))
    together.append(_rate(source.files[2:6], 2))
    alone.append(_rate(source.files[:2], 1))
    one, two = statistics.mean(alone), statistics.mean(together)
    return {
        "workload": "extract-stage",
        "items": pages,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "start_seconds": start_seconds,
        "pairs": pairs,
        "items_per_second": round(pages / seconds, 1),
        "loop_items_per_core_second": [round(rate, 1) for rate in alone],
        "busy_loop_items_per_core_second": [round(rate, 1) for rate in together],
        "writing_loop_items_per_core_second": round(writing, 1),
        "of_two_writing_cores": round(pages / seconds / (2 * writing), 3),
        "of_two_cores": round(pages / seconds / (2 * one), 3),
        "of_two_busy_cores": round(pages / seconds / (2 * two), 3),
        "of_loop": round(pages / cpu_seconds / two, 3),
        **_about(source),
    }


def _run_stage(
    first: Sequence[Path], files: Sequence[Path]
) -> tuple[float, int, int, float, float]:
    """(seconds of reading `first`, then of reading files: pages, pairs, seconds, CPU seconds), from
    a session that is there to the accounts."""
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
    from pipeline.core.context import Context
    from pipeline.core.spark import session
    from pipeline.core.storage import Store
    from pipeline.stages.extract import STAGE, ExtractSection, build
    from tests.benchmarks.machine import spark_cpu_seconds

    spark = session("bench extract")

    def read_all(files: Sequence[Path]) -> tuple[int, int, float]:
        section = ExtractSection(archives=tuple(map(str, files)))
        with tempfile.TemporaryDirectory() as root:
            ctx = Context(STAGE.name, spark, Store(root), section, {STAGE.name: section}, {})
            seconds = time.perf_counter()
            accounts = {account.unit: account for account in build(ctx)}
            seconds = time.perf_counter() - seconds
        return accounts["records"].kept, accounts["pairs"].kept, seconds

    start_seconds = read_all(first)[2]
    cpu_seconds = spark_cpu_seconds(spark)
    pages, pairs, seconds = read_all(files)
    cpu_seconds = spark_cpu_seconds(spark) - cpu_seconds
    spark.stop()
    return start_seconds, pages, pairs, seconds, cpu_seconds


def _rate(files: Sequence[Path], processes: int, folder: Path | None = None) -> float:
    """Pages per core-second of as many processes that read at the same time, and write to a folder
    where one is given."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(processes)
    with ProcessPoolExecutor(processes, spawn, _begin, (start, files[0])) as pool:
        shares = [files[i::processes] for i in range(processes)]
        found = list(pool.map(partial(read, folder=folder), shares))
    return sum(f["pages"] for f in found) / sum(f["cpu_seconds"] for f in found)


def _begin(start: Barrier, path: Path) -> None:
    warm(path)
    start.wait()


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    warm(given[0])
    print(json.dumps(read(given)))
