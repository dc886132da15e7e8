"""python -m tests.benchmarks.peers [workload ...]: ours and a peer in turn on the same input.

Writes build/bench/peers/<workload>.json with the figures of both and `ratio`: ours over the
peer, items per core-second, the median of pairs.
"""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.__main__ import OUT

# workload -> module of this package, function that compares and returns the figures.
COMPARISONS = {
    "extract-wat": ("extract", "run_wat"),
    "extract-wat-generated": ("extract", "run_wat_generated"),
    "download-https": ("download", "run_https"),
    "download-http": ("download", "run_http"),
    "match": ("match", "run"),
    "download-https-simplejpeg": ("download", "run_https_simplejpeg"),
    "download-http-simplejpeg": ("download", "run_http_simplejpeg"),
    "match-attacks": ("attacks", "run"),
    "score": ("score", "run"),
    "shard-write": ("shards", "run_write"),
    "shard-read": ("shards", "run_read"),
    "stream-read": ("stream", "run_read_webdataset"),
    "stream-read-mosaic": ("stream", "run_read_mosaic"),
    "stream-resume-mosaic": ("stream", "run_resume_mosaic"),
    "line": ("line", "run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparisons; 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers")
    parser.add_argument("workload", nargs="*", help=f"of {', '.join(COMPARISONS)}; default all")
    parser.add_argument(
        "--scale",
        type=float,
        help="of the input, where it can be less, for a quicker look",
    )
    parser.add_argument(
        "--size", type=int, help="of line: how many pictures; 5000 is a measurement"
    )
    args = parser.parse_args(argv)
    unknown = sorted(set(args.workload) - COMPARISONS.keys())
    if unknown:
        parser.error(f"no comparison {', '.join(unknown)}; there are {', '.join(COMPARISONS)}")
    (OUT / "peers").mkdir(parents=True, exist_ok=True)
    failed = []
    for workload in args.workload or COMPARISONS:
        module, function = COMPARISONS[workload]
        compare = getattr(importlib.import_module(f"tests.benchmarks.peers.{module}"), function)
        try:
            is_scaled = args.scale and workload.startswith(("download", "match", "score"))
            scale: dict[str, float] = {"scale": args.scale} if is_scaled else {}
            if args.size and workload == "line":
                scale = {"items": args.size}
            figures = compare(**scale) | {"machine": machine.describe()}
        except (AssertionError, subprocess.CalledProcessError) as error:
            print(f"{workload}: {error}", file=sys.stderr)
            failed.append(workload)
            continue
        (OUT / "peers" / f"{workload}.json").write_text(json.dumps(figures, indent=1) + "\n")
        if "summary" in figures:
            print(figures["summary"], flush=True)
            continue
        rates = {
            side: max(f["items_per_core_second"] for f in figures[side])
            for side in ("ours", "peer")
        }
        print(
            f"{workload}: {figures['ratio']:.2f} times {figures['peer_name']} "
            f"(best {rates['ours']:,.0f} and {rates['peer']:,.0f} items per core-second)",
            flush=True,
        )
        if steps := _steps(figures["ours"]):
            print(f"  CPU ms per item, ours: {steps}", flush=True)
    return 1 if failed else 0


def _steps(runs: Sequence[dict[str, Any]]) -> str:
    """What ours noted of its own steps, the least of all runs."""
    names = [name for name in runs[0] if name.endswith("_ms")]
    return ", ".join(f"{n.removesuffix('_ms')} {min(r[n] for r in runs):.2f}" for n in names)


if __name__ == "__main__":
    sys.exit(main())
