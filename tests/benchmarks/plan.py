"""The plan held against runs: the line on embedded webs of four sizes, each as a user runs it.

The smallest, of a few pages, gives what starting every stage takes; the middle of the others gives
rates and ratios, and the plan made of them is held against what the other two took, and itself.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.stages.plan import Recipe, quantities, stage_work, vectors
from pipeline.stages.plan_files import Rates, load_rates
from pipeline.stages.plan_run import counts_of, measured_rates, recipe_of_run
from pipeline.stats.funnel import ORDER
from tests.benchmarks.line import mill

ROOT = Path(__file__).resolve().parents[2]
_START_PAGES = 20
_PAGES = (600, 1200, 2400)


def run(sizes: Sequence[int] = _PAGES) -> dict[str, Any]:
    """sizes: three numbers of pages. Items are the pairs of the largest; `stages` has predicted and
    measured core-seconds, shuffled and kept bytes of each stage and size, and their ratio."""
    if len(sizes) != 3:
        raise ValueError(f"plan takes three sizes, not {len(sizes)}")
    base = load_rates(str(ROOT / "conf" / "rates" / "measured.toml"))
    folder = Path(tempfile.mkdtemp(prefix="bench-plan-"))
    try:
        # Twice: the first compiles kernels, on a machine that has not yet.
        mill(folder / "compiled", _START_PAGES)
        start, _ = mill(folder / "start", _START_PAGES)
        took = {pages: mill(folder / str(pages), pages) for pages in sorted(sizes)}
        base = _with_start(base, folder / "start")
        middle = folder / str(sorted(sizes)[1])
        rates, recipe = measured_rates(str(middle), base), recipe_of_run(str(middle))
        rows = [
            row
            for pages in sorted(sizes)
            for row in _compare(folder / str(pages), pages, rates, recipe)
        ]
        items = counts_of(str(folder / str(max(sizes))))["pairs"]
    finally:
        shutil.rmtree(folder)
    print(_table(rows), file=sys.stderr)
    return {
        "workload": "plan",
        "items": int(items),
        "seconds": took[max(sizes)][0],
        "cpu_seconds": took[max(sizes)][1],
        "start_seconds": start,
        "stages": rows,
        "rates": rates.model_dump(),
    }


def _with_start(base: Rates, run: Path) -> Rates:
    """What each stage took where it had nearly nothing to do is its start."""
    stages = {
        name: rate.model_copy(update={"start_core_s": _took(run, name)["core_s"]})
        for name, rate in base.stages.items()
    }
    return base.model_copy(update={"stages": stages})


def _took(run: Path, stage: str) -> dict[str, float]:
    record = json.loads((run / "_stages" / f"{stage}.json").read_text())
    return {"core_s": record["cpu_seconds"], "shuffle_bytes": record["shuffle_bytes"]}


def _compare(run: Path, pages: int, rates: Rates, recipe: Recipe) -> list[dict[str, Any]]:
    """Of one size: its pairs are given, all else is planned."""
    pairs = counts_of(str(run))["pairs"]
    planned = quantities(pairs, rates.ratios)
    planned |= {"vectors": vectors(planned, rates)}
    rows = []
    own = measured_rates(str(run), rates)
    real = counts_of(str(run))
    real |= {"vectors": vectors(real, rates)}
    for name in ORDER:
        rate = rates.stages[name]
        core_s, shuffled = stage_work(name, planned[rate.per], rate, rates, recipe)
        took = _took(run, name)
        kept = own.stages[name].kept_bytes * real[rate.per]
        rows.append(
            {
                "pages": pages,
                "pairs": int(pairs),
                "stage": name,
                "core_s": [round(core_s, 1), took["core_s"]],
                "shuffle_bytes": [round(shuffled), took["shuffle_bytes"]],
                "kept_bytes": [round(rate.kept_bytes * planned[rate.per]), round(kept)],
            }
        )
    whole: dict[str, Any] = {"pages": pages, "pairs": int(pairs), "stage": "all"}
    for what in ("core_s", "shuffle_bytes", "kept_bytes"):
        whole[what] = [round(sum(row[what][side] for row in rows), 1) for side in (0, 1)]
    return [*rows, whole]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{'pages':>6} {'pairs':>7} {'stage':10}{'core s: plan, real':>26}{'shuffle':>26}{'kept':>26}"
    ]
    for row in rows:
        cells = [
            _cell(row["core_s"], 1),
            *(_cell(row[n], 1e6) for n in ("shuffle_bytes", "kept_bytes")),
        ]
        lines.append(f"{row['pages']:>6} {row['pairs']:>7,} {row['stage']:10}{''.join(cells)}")
    return "\n".join(lines)


def _cell(values: Sequence[float], unit: float) -> str:
    planned, real = (value / unit for value in values)
    ratio = f"{planned / real:.2f}" if real else "-"
    return f"{planned:>10.1f} {real:>9.1f} {ratio:>5}"
