"""What a search of so many hashes will take: make match-plan N="1e9 1e10" [R="2 4 6"].

Prices are those that `make bench W="match-search match-kernel"` measured on this machine, where
they are in build/bench, else those the cost model has. Hashes are taken to have independent bits;
real ones crowd, and the log of each run says by how much. Writes build/bench/match-plan.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.match.blocks import MEASURED, Rates, choose_plan
from pipeline.match.radius import random_neighbours
from tests.benchmarks import machine
from tests.benchmarks.__main__ import OUT


def measured_rates() -> tuple[Rates, str]:
    """The prices, and where they are from."""
    try:
        kernel = json.loads((OUT / "match-kernel.json").read_text())
        sizes = json.loads((OUT / "match-search.json").read_text())["sizes"]
    except FileNotFoundError:
        return MEASURED, "the cost model"
    comparison = 1 / kernel["comparisons_per_second"]
    large = sizes[-1]
    rest = large["cpu_seconds"] - large["comparisons"] * comparison
    rows = large["rows"]
    if len(sizes) > 1:  # the difference is free of what starting Spark costs
        small = sizes[0]
        rest -= small["cpu_seconds"] - small["comparisons"] * comparison
        rows -= small["rows"]
    return Rates(max(rest, 0) / rows, comparison), f"build/bench, {large['items']:,} hashes"


def forecast(hashes: int, radius: int, rates: Rates) -> dict[str, Any]:
    """The plan for so many hashes, and what it takes."""
    plan = choose_plan(hashes, radius, rates)
    return {
        "hashes": hashes,
        "radius": radius,
        "blocks": plan.blocks,
        "agreeing_blocks": plan.agree,
        "tables": len(plan.masks),
        "comparisons": plan.comparisons(hashes),
        "shuffle_bytes": plan.shuffle_bytes(hashes),
        "core_hours": plan.seconds(hashes, rates) / 3600,
        "random_neighbours": random_neighbours(hashes, radius),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.match_plan")
    parser.add_argument("--hashes", nargs="+", type=float, default=[1e9, 1e10])
    parser.add_argument("--radius", nargs="+", type=int, default=[2, 4, 6])
    args = parser.parse_args(argv)
    rates, source = measured_rates()
    print(
        f"a row {rates.row * 1e9:.0f} ns, a comparison {rates.comparison * 1e9:.2f} ns "
        f"({source})\n"
        f"{'hashes':>16}{'r':>3}{'B':>4}{'p':>3}{'tables':>8}{'comparisons':>13}"
        f"{'shuffle TB':>12}{'core-hours':>12}{'random':>10}"
    )
    rows = [forecast(int(n), r, rates) for n in args.hashes for r in args.radius]
    for row in rows:
        print(
            f"{row['hashes']:>16,}{row['radius']:>3}{row['blocks']:>4}{row['agreeing_blocks']:>3}"
            f"{row['tables']:>8}{row['comparisons']:>13.2e}{row['shuffle_bytes'] / 1e12:>12.2f}"
            f"{row['core_hours']:>12.1f}{row['random_neighbours']:>10.1e}"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    prices = {"row_seconds": rates.row, "comparison_seconds": rates.comparison, "source": source}
    figures = {"rates": prices, "plans": rows, "machine": machine.describe()}
    (OUT / "match-plan.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
