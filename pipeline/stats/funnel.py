"""The funnel of a run, from what its stages counted: in, kept, and dropped by reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.storage import Store
from pipeline.stats.charts import share

ORDER = (
    "extract",
    "dedupe",
    "download",
    "match",
    "score",
    "cluster",
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


def render_funnel(found: Sequence[Step], reasons: int = 3) -> str:
    """A table for the console, 100 columns: a line per stage and unit, then its main reasons.

    Reasons stand below their stage, one a line; those beyond `reasons` are summed in a last line.
    """
    lines = [f"{'stage':<10} {'what':<20} {'in':>15} {'kept':>15} {'share':>7} {'seconds':>9}"]
    stage = ""
    for step in found:
        is_first = step.stage != stage
        stage = step.stage
        name, seconds = (stage, f"{step.seconds:>9,.1f}") if is_first else ("", "")
        lines.append(
            f"{name:<10} {step.unit.replace('_', ' '):<20} {step.rows_in:>15,} {step.kept:>15,} "
            f"{step.kept_share:>7.1%} {seconds}".rstrip()
        )
        items = list(step.dropped.items())
        # One reason more takes the line that would sum up the rest.
        shown = items if len(items) <= reasons + 1 else items[:reasons]
        rest = items[len(shown) :]
        if rest:
            shown = [*shown, (f"{len(rest)} other reasons", sum(rows for _, rows in rest))]
        for reason, rows in shown:
            lines.append(f"{'':11}- {reason:<34} {-rows:>15,} {share(rows, step.rows_in):>7}")
    return "\n".join(lines)
