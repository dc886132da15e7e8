"""Jobs that do with files what the real ones do, without Spark and a web: to test the chaos run itself.

python -m tests.chaos.pretend run --config ... --set run.root=<folder> [--redo]
"""

import json
import shutil
import sys
import time
import types
from pathlib import Path
from typing import Any

import pyarrow as pa

# A stage is given these; nothing here needs the real ones, which take seconds to load.
_context: Any = types.ModuleType("pipeline.core.context")
_bell = types.SimpleNamespace(judge=lambda *_: None)
_context.Context = lambda stage, spark, store, *_: types.SimpleNamespace(
    stage=stage, store=store, bell=_bell
)
_spark: Any = types.ModuleType("pipeline.core.spark")
_spark.CHECKPOINTS = "_checkpoints"
_spark.session = lambda _: types.SimpleNamespace(
    sparkContext=types.SimpleNamespace(defaultParallelism=1)
)
_spark.keep_checkpoints = lambda *_: None
_usage: Any = types.ModuleType("pipeline.core.usage")
_usage.usage = lambda _: types.SimpleNamespace(
    since=lambda _: types.SimpleNamespace(to_json=lambda: {})
)
sys.modules |= {
    "pipeline.core.context": _context,
    "pipeline.core.spark": _spark,
    "pipeline.core.usage": _usage,
}

from pipeline.core import records  # noqa: E402
from pipeline.core.accounts import Account  # noqa: E402
from pipeline.core.config import Config, RunSection  # noqa: E402
from pipeline.core.run import guarded, run  # noqa: E402
from pipeline.core.stage import Stage, StageSection  # noqa: E402
from pipeline.core.storage import Store  # noqa: E402
from pipeline.core.tables import Table, column  # noqa: E402
from tests.shards import plain_release  # noqa: E402

# As in pipeline/stages/line.py, which loads everything.
STAGES = tuple("extract dedupe download match score cluster measure decide shard report".split())
PARTS = 5
_PART_S = 0.1
_SCHEMA = pa.schema([column("n", pa.int64(), "a number"), column("text", pa.string(), "of it")])
TABLES = {
    name: Table("images" if name == "download" else f"{name}_rows", "Rows.", ("n",), _SCHEMA)
    for name in STAGES
}


def _rows(store: Store, stage: str, part: int) -> list[dict[str, Any]]:
    """Of a part: made of the same part of the stage before."""
    at = STAGES.index(stage)
    if at == 0:
        return [{"n": n * PARTS + part, "text": f"{n * 7919}"} for n in range(500)]
    before = [b for b in store.read_part(TABLES[STAGES[at - 1]], part)]
    return [{"n": r["n"] + 1, "text": r["text"] + "."} for b in before for r in b.to_pylist()]


def build(context: Any) -> list[Account]:
    """Make the parts that are missing; of `shard` the release as well."""
    store, table = context.store, TABLES[context.stage]
    store.sweep(table.name)
    done = store.committed(table)
    missing = [part for part in range(PARTS) if part not in done]
    records.write_progress(store, context.stage, table, PARTS, len(missing))
    for part in missing:
        rows = _rows(store, context.stage, part)
        with store.publish_part(table, part) as sink:
            time.sleep(_PART_S)
            sink.write_rows(rows)
            sink.accounts.append(Account("rows", len(rows), len(rows)))
    if context.stage == "shard":
        _release(store)
    return [a for part in range(PARTS) for a in store.part_accounts(table, part)][:1]


def _sample(key: str, text: str) -> plain_release.Sample:
    record = json.dumps({"caption": text, "key": key}).encode()
    return key, b"\xff\xd8\xff" + bytes(500), text.encode(), record


def _release(store: Store) -> None:
    rows = [r for b in store.read_part(TABLES["shard"], 0) for r in b.to_pylist()][:20]
    building = Path(store.path("release.building"))
    for folder in (building, Path(store.path("release"))):
        shutil.rmtree(folder, ignore_errors=True)
    named = [_sample(f"{r['n']:032x}", r["text"]) for r in rows]
    plain_release.write(building, named, 5)
    building.rename(store.path("release"))


def main() -> int:
    """Run the job; its exit status as that of the real one."""
    job, *words = sys.argv[1:]
    (root,) = [word.partition("=")[2] for word in words if word.startswith("run.root=")]
    line = tuple(
        Stage(
            name,
            (TABLES[STAGES[at - 1]],) if at else (),
            (TABLES[name],),
            StageSection,
            build,
            folders=("release", "release.building") if name == "shard" else (),
        )
        for at, name in enumerate(STAGES)
    )
    if job == "retry":
        return 0  # nothing failed
    sections = {"run": RunSection(root=root), **dict.fromkeys(STAGES, StageSection())}
    names = STAGES if job == "run" else (job,)
    return guarded(lambda: run(names, line, Config(sections, {}), "--redo" in words))


if __name__ == "__main__":
    sys.exit(main())
