"""python -m tests.benchmarks [workload ...]: run workloads, each in a process of its own.

Writes build/bench/<workload>.json with workload, items, seconds, cpu_seconds,
items_per_core_second, peak_rss_mb, machine and what the workload adds.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import machine

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"

# workload -> module of this package, function that runs it and returns its figures.
WORKLOADS = {
    "extract-wat": ("extract", "run_wat"),
    "extract-wat-generated": ("extract", "run_wat_generated"),
    "extract-warc": ("extract", "run_warc"),
    "extract-warc-generated": ("extract", "run_warc_generated"),
    "extract-stage": ("extract", "run_stage"),
    "dedupe": ("dedupe", "run"),
    "dedupe-5m": ("dedupe", "run_5m"),
    "dedupe-20m": ("dedupe", "run_20m"),
    "dedupe-50m": ("dedupe", "run_50m"),
    "download-https": ("download", "run_https"),
    "download-http": ("download", "run_http"),
    "download-latency": ("download", "run_latency"),
    "match": ("match", "run"),
    "match-search": ("match", "run_search"),
    "match-kernel": ("match_kernel", "run"),
    "cluster": ("cluster", "run"),
    "cluster-25k": ("cluster", "run_25k"),
    "match-attacks": ("attacks", "run"),
    "score": ("score", "run"),
    "score-gpu": ("score", "run_gpu"),
    "pixels": ("pixels", "run"),
    "filters": ("filters", "run"),
    "decide": ("decide", "run"),
    "report": ("report", "run"),
    "report-1m": ("report", "run_1m"),
    "notebooks": ("notebooks", "run"),
    "filters-all": ("filters", "run_all"),
    "shard-write": ("shards", "run_write"),
    "shard-read": ("shards", "run_read"),
    "stream-read": ("stream", "run_read"),
    "stream-s3": ("stream_s3", "run_s3"),
    "stream-s3-ceph": ("stream_s3", "run_s3_ceph"),
    "stream-resume": ("stream", "run_resume"),
    "stream-simulate": ("stream", "run_simulate"),
    "driver": ("driver", "run"),
    "line": ("line", "run"),
    "plan": ("plan", "run"),
}

# Workloads that run only when they are named: they need what few machines have, or long.
ASKED_FOR = ("score-gpu", "stream-s3-ceph", "plan")

# Workloads that take sizes, and keep the figures of each.
SIZED = ("match", "match-search", "plan")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the workloads; 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    usual = [name for name in WORKLOADS if name not in ASKED_FOR]
    parser.add_argument(
        "workload",
        nargs="*",
        help=f"of {', '.join(WORKLOADS)}; default all but {', '.join(ASKED_FOR)}",
    )
    parser.add_argument(
        "--sizes", nargs="+", type=float, default=[], help=f"of {', '.join(SIZED)}: 1e6 1e7"
    )
    parser.add_argument("--child", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    unknown = sorted(set(args.workload) - WORKLOADS.keys())
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if args.child:
        return _child(args.workload[0], Path(args.child), args.sizes)
    OUT.mkdir(parents=True, exist_ok=True)
    print(f"{'workload':24}{'items':>12}{'seconds':>10}{'cpu s':>10}{'/core s':>12}{'MB':>8}")
    failed = []
    for workload in args.workload or usual:
        figures = run(workload, args.sizes if workload in SIZED else [])
        if figures is None:
            failed.append(workload)
            continue
        (OUT / f"{workload}.json").write_text(json.dumps(figures, indent=1) + "\n")
        print(
            f"{workload:24}{figures['items']:>12,}{figures['seconds']:>10.2f}"
            f"{figures['cpu_seconds']:>10.2f}{figures['items_per_core_second']:>12,.1f}"
            f"{figures['peak_rss_mb']:>8,.0f}",
            flush=True,
        )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(workload: str, sizes: Sequence[float] = ()) -> dict[str, Any] | None:
    """Run one workload in a fresh process; its figures, or None when it failed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.benchmarks", workload, "--child", str(result)),
                *(["--sizes", *map(str, sizes)] if sizes else []),
            ],
            cwd=ROOT,
            start_new_session=True,
            stdout=2,  # ours is the table
        )
        try:
            with machine.PeakMemory(process) as peak:
                status = process.wait()
        except BaseException:
            process.kill()
            raise
        if status or not result.exists():
            return None
        figures: dict[str, Any] = json.loads(result.read_text())
    figures["items_per_core_second"] = round(figures["items"] / figures["cpu_seconds"], 2)
    sampled = 0.0 if figures.pop("own_peak") else peak.mb
    figures["peak_rss_mb"] = round(max(sampled, figures["peak_rss_mb"]), 1)
    return figures | {"machine": machine.describe()}


def _child(workload: str, result: Path, sizes: Sequence[float]) -> int:
    module, function = WORKLOADS[workload]
    measure = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)
    figures = dict(measure([int(size) for size in sizes]) if sizes else measure())
    missing = {"workload", "items", "seconds", "cpu_seconds"} - figures.keys()
    if missing or figures["workload"] != workload:
        raise ValueError(f"{module}.{function} gave {figures}; missing {sorted(missing)}")
    # A workload whose set-up takes more than what it measures reports its own peak.
    figures["own_peak"] = "peak_rss_mb" in figures
    if not figures["own_peak"]:
        # What the sampling outside may have missed: the largest single process.
        used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        figures["peak_rss_mb"] = max(resource.getrusage(who).ru_maxrss for who in used) / 1024
    result.write_text(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
