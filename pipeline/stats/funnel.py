"""The funnel of a run, from what its stages counted: in, kept, and dropped by reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.storage import Store

ORDER = (
    "extract",
    "dedupe",
    "download",
    "match",
    "score",
    "measure",
    "decide",
    "shard",
    "report",
)


@dataclass(frozen=True)
class Step:
    """What one stage counted of one unit.

    dropped: rows by reason, falling. seconds: of the stage's last run, 0 when not known.
    """

    stage: str
    unit: str
    rows_in: int
    kept: int
    dropped: dict[str, int]
    seconds: float

    @property
    def kept_share(self) -> float:
        return self.kept / self.rows_in if self.rows_in else 0.0

    @property
    def rows_per_s(self) -> float:
        return self.rows_in / self.seconds if self.seconds else 0.0


def load_records(store: Store) -> list[dict[str, Any]]:
    """The records of all stages that ran or run here, in line order; unknown stages come last."""
    folder = store.path("_stages")
    if not store.fs.exists(folder):
        return []
    names = [f.rsplit("/", 1)[-1] for f in store.fs.ls(folder, detail=False)]
    # A half-written record has another first character; see Store.publish.
    wanted = [n for n in names if n.endswith(".json") and not n.startswith(".")]
    found = [store.read_json(f"_stages/{n}") for n in wanted]
    return sorted(found, key=lambda r: (_position(r["stage"]), r["stage"]))


def _position(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else len(ORDER)


def steps(records: Sequence[dict[str, Any]]) -> list[Step]:
    """One step per stage and unit of the finished stages."""
    return [
        Step(
            record["stage"],
            account["unit"],
            account["in"],
            account["kept"],
            dict(sorted(account["dropped"].items(), key=lambda item: (-item[1], item[0]))),
            record.get("seconds", 0.0),
        )
        for record in records
        if record["state"] == "done"
        for account in record["accounts"]
    ]


def funnel(root: str) -> list[Step]:
    """The funnel of the run in a folder; empty when nothing finished there."""
    return steps(load_records(Store(root)))


def render_funnel(found: Sequence[Step], reasons: int = 4) -> str:
    """A table for the console: one line per stage and unit, with its most frequent reasons."""
    lines = [f"{'stage':<10} {'unit':<12} {'in':>14} {'kept':>14} {'share':>7}  dropped"]
    stage = ""
    for step in found:
        name = step.stage if step.stage != stage else ""
        stage = step.stage
        shown = [f"{reason} {rows:,}" for reason, rows in list(step.dropped.items())[:reasons]]
        if len(step.dropped) > reasons:
            rest = sum(list(step.dropped.values())[reasons:])
            shown.append(f"{len(step.dropped) - reasons} more {rest:,}")
        lines.append(
            f"{name:<10} {step.unit:<12} {step.rows_in:>14,} {step.kept:>14,} "
            f"{step.kept_share:>7.1%}  {', '.join(shown)}".rstrip()
        )
    return "\n".join(lines)
