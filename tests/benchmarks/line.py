"""The whole line on the embedded web: start-up of Spark and of the models included."""

import json
import shutil
import tempfile
from pathlib import Path

from tests.benchmarks import machine

ROOT = Path(__file__).resolve().parents[2]


def run(scale: float = 1.0) -> dict[str, object]:
    """Mill a web of 500 pages times `scale`; items are candidate images, seconds the wall time.

    cpu_seconds counts the JVM, the Python workers and the web server that answers them.
    """
    root = Path(tempfile.mkdtemp(prefix="bench-line-"))
    pages = max(100, int(500 * scale))
    seconds, cpu_seconds = mill(root, pages)
    records = [json.loads(p.read_text()) for p in sorted((root / "_stages").glob("*.json"))]
    images = next(a for r in records if r["stage"] == "download" for a in r["accounts"])
    shutil.rmtree(root)
    return {
        "workload": "line",
        "items": images["in"],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "pages": pages,
        "seconds_by_stage": {r["stage"]: r["seconds"] for r in records},
        "cpu_seconds_by_stage": {r["stage"]: r["cpu_seconds"] for r in records},
    }


def mill(root: Path, pages: int) -> tuple[float, float]:
    """Mill a web of so many pages, written there too; wall and CPU seconds of all its processes."""
    sets = [f"run.root={root}", f"demo.folder={root}/web", f"demo.pages={pages}"]
    command = [str(ROOT / "conf/environment/submit.sh"), str(ROOT / "jobs/run.py")]
    command += ["--config", str(ROOT / "conf/demo.toml")]
    return machine.counted([*command, *(word for s in sets for word in ("--set", s))])
