"""How long each notebook takes on a run of ten million pairs.

    make bench W=notebooks

The run is that of `report`: its tables, and the figures that its stage counts. Every notebook is
executed whole, in a kernel of its own, as `make notebooks` does; the start of the kernel and of its
imports is in the seconds. `08_nearest_pictures` needs an index of embeddings and is left out.
"""

import resource
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.notebooks import ROOT, execute
from pipeline.core.storage import Store
from tests.benchmarks import report

_LEFT_OUT = "08_nearest_pictures"


def run(scale: float = 1.0) -> dict[str, Any]:
    """Execute the notebooks on `report.ROWS * scale` pairs.

    notebooks: seconds of each. slowest_cell_s: of the one cell that took longest, and `slowest_cell`
    the notebook it is in.
    """
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    try:
        rows = report.made(Store(root), scale)
        out = Path(root, "out")
        sources = [p for p in sorted((ROOT / "notebooks").glob("*.py")) if p.stem != _LEFT_OUT]
        seconds, cells = {}, {}
        cpu, begun = _children_s(), time.perf_counter()
        for source in sources:
            started = time.perf_counter()
            (written,) = execute(root, [source], out)
            seconds[source.stem] = round(time.perf_counter() - started, 2)
            cells[source.stem] = _slowest_s(written)
        slowest = max(cells, key=lambda name: cells[name])
        return {
            "workload": "notebooks",
            "items": rows,
            "seconds": round(time.perf_counter() - begun, 2),
            "cpu_seconds": round(_children_s() - cpu, 2),
            "notebooks": seconds,
            "slowest_cell": slowest,
            "slowest_cell_s": cells[slowest],
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _children_s() -> float:
    """Processor seconds of processes of this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _slowest_s(notebook: Path) -> float:
    """Seconds of the cell that took longest."""
    import nbformat

    longest = 0.0
    for cell in nbformat.read(notebook, 4).cells:
        told = cell.metadata.get("execution", {})
        if "shell.execute_reply" in told:
            begun, ended = told["iopub.execute_input"], told["shell.execute_reply"]
            longest = max(longest, (_at(ended) - _at(begun)).total_seconds())
    return round(longest, 2)


def _at(told: str) -> datetime:
    return datetime.fromisoformat(told)
