"""Where a run stands: which stages are done, running, stopped or missing, with rates and time left.

Read from the run folder alone, by anyone, while it runs; nothing is started and nothing written.
"""

import json
import posixpath
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.core import claim, records
from pipeline.core.accounts import Account
from pipeline.core.logs import FOLDER
from pipeline.core.progress import duration
from pipeline.core.redact import unsigned
from pipeline.core.stage import Stage
from pipeline.core.storage import Store

State = Literal["done", "outdated", "running", "stopped", "missing"]


@dataclass(frozen=True)
class StageState:
    """One stage of a run.

    detail: since when, how long, or why it is outdated. parts_done, parts: of a stage that works
    in parts, None of another. parts_per_s: of the present attempt, None before its first part.
    left_s: at that rate. changed: keys whose value in the recipe is not that of what is there.
    """

    stage: str
    state: State
    detail: str = ""
    parts_done: int | None = None
    parts: int | None = None
    parts_per_s: float | None = None
    left_s: float | None = None
    changed: tuple[str, ...] = ()


def states(
    store: Store, line: tuple[Stage, ...], identities: dict[str, dict[str, Any]]
) -> list[StageState]:
    """Every stage of the line, in order. identities: what the recipe makes of each stage's
    config; of what stages take from outside (archives, weights) nothing is said here."""
    held = claim.holder(store)
    is_held = held is not None and claim.is_alive(held)
    found: list[StageState] = []
    for stage in line:
        record = records.load(store, stage.name)
        if record is None or records.is_discarded(record):
            found.append(StageState(stage.name, "missing"))
            continue
        kept = {k: v for k, v in record["config"].items() if k != "outside"}
        wanted = json.loads(json.dumps(identities[stage.name]))  # a tuple is a list in a record
        changed = tuple(records.differences(kept, wanted))
        if record["state"] == "done":
            found.append(_finished(store, line, record, changed))
        else:
            found.append(_unfinished(store, stage, is_held, changed))
    return found


def _finished(
    store: Store, line: tuple[Stage, ...], record: dict[str, Any], changed: tuple[str, ...]
) -> StageState:
    stale = []
    for source, id_ in record["inputs"].items():
        before = records.load(store, source)
        if before is None or before["state"] != "done" or before["id"] != id_:
            stale.append(source)
    if stale:
        why = f"{', '.join(stale)} was done again since; the next run does it again"
        return StageState(record["stage"], "outdated", why, changed=changed)
    accounts = [Account.from_json(a) for a in record["accounts"]]
    told = [f"{record['seconds']:.0f} s, {record['finished_at']}"]
    told += [f"{a.kept:,} of {a.rows_in:,} {a.unit.replace('_', ' ')}" for a in accounts[:1]]
    return StageState(record["stage"], "done", ", ".join(told), changed=changed)


def _unfinished(store: Store, stage: Stage, is_held: bool, changed: tuple[str, ...]) -> StageState:
    state: State = "running" if is_held else "stopped"
    noted = records.progress(store, stage.name)
    table = next((t for t in stage.writes if noted and t.name == noted["table"]), None)
    if noted is None or table is None:
        return StageState(stage.name, state, changed=changed)
    done = len(store.committed(table))
    of_this_attempt = done - (noted["parts"] - noted["missing"])
    seconds = time.time() - noted["started_at"]
    rate = of_this_attempt / seconds if is_held and of_this_attempt > 0 and seconds > 0 else None
    left = (noted["parts"] - done) / rate if rate else None
    return StageState(stage.name, state, "", done, noted["parts"], rate, left, changed)


def alarms(store: Store) -> list[str]:
    """What rang in the last run of a command and is not over yet, as lines of text."""
    folder = store.path(FOLDER)
    if not store.fs.exists(folder):
        return []
    ringing: dict[tuple[str, str, str], str] = {}
    names = sorted(posixpath.basename(str(name)) for name in store.fs.ls(folder, detail=False))
    # Segments of one run have its start and id in common.
    last = "-".join(names[-1].removesuffix(".jsonl").split("-")[:2]) if names else ""
    for name in (name for name in names if name.startswith(last)):
        for line in (
            store.fs.cat_file(store.path(FOLDER, name)).decode(errors="replace").splitlines()
        ):
            if '"alarm' not in line:
                continue
            with suppress(ValueError, KeyError):  # a line that a kill has cut
                event = json.loads(line)
                key = event.get("stage", ""), event["unit"], event["figure"]
                if event["event"] == "alarm":
                    ringing[key] = f"{key[0]}: {event['text']}"
                elif event["event"] == "alarm_over":
                    ringing.pop(key, None)
    return list(ringing.values())


def render(store: Store, found: Sequence[StageState]) -> str:
    """The states as text: one line a stage, and what the next run would do about changes."""
    held = claim.holder(store)
    if held is None:
        head = f"{store.root}: nobody works on it"
    else:
        age = f"last sign of life {max(0, time.time() - held.beat_at):.0f} s ago"
        word = "held by" if claim.is_alive(held) else "left by the killed"
        head = f"{store.root}: {word} process {held.pid} on {held.host}, {age}"
    lines = [head]
    for state in found:
        lines.append(f"  {state.stage:10} {state.state:9} {_told(state)}".rstrip())
        lines += [f"  {'':10} {'':9} changed: {key}" for key in state.changed]
    first = next((s.stage for s in found if s.changed), None)
    if first is not None:
        names = [s.stage for s in found]
        again = [n for n in names[names.index(first) :] if _is_there(found, n)]
        lines.append(
            f"The recipe is not the one {first} was made with: a run is refused; with REDO=1 "
            f"`make {first}` does {', '.join(again)} again."
        )
    lines += [f"alarm: {text}" for text in alarms(store)]
    return unsigned("\n".join(lines))


def _is_there(found: Sequence[StageState], name: str) -> bool:
    return any(s.stage == name and s.state != "missing" for s in found)


def _told(state: StageState) -> str:
    if state.parts is None:
        return state.detail
    told = f"{state.parts_done:,} of {state.parts:,} parts"
    if state.parts_per_s is not None and state.left_s is not None:
        told += f", {state.parts_per_s * 60:.1f} a minute, {duration(state.left_s)} left"
    return told
