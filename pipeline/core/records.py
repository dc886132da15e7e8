"""Stage records: what was run with which config on which inputs, and what it counted.

`_stages/<stage>.json` is written as "started" before a stage touches anything, as "done" when it
has committed all it writes, and as "discarded" before what it wrote is removed. It is what makes a
rerun skip, continue or refuse.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pipeline
from pipeline.core.accounts import Account
from pipeline.core.errors import ConfigError, ContractError
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.core.tables import Table
from pipeline.core.usual import KEPT, Stretch

_DISCARDED = "discarded"
_EARLIER = "_earlier"


def digest(data: object) -> str:
    """16 hex digits that name JSON-ready data."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def path(stage: str) -> str:
    """Where a stage's record lies in the run folder."""
    return f"_stages/{stage}.json"


def load(store: Store, stage: str) -> dict[str, Any] | None:
    """A stage's record, or None when it never started here."""
    return store.read_json(path(stage)) if store.exists(path(stage)) else None


def writer_of(line: tuple[Stage, ...], table: str) -> str:
    """The stage that writes a table."""
    for stage in line:
        if any(t.name == table for t in stage.writes):
            return stage.name
    raise KeyError(table)


def inputs(store: Store, stage: Stage, line: tuple[Stage, ...]) -> dict[str, str]:
    """Ids of the finished stages this one reads from. Raises ContractError when one is missing."""
    found = {}
    for table in stage.reads:
        source = writer_of(line, table.name)
        record = load(store, source)
        if record is None or record["state"] != "done":
            raise ContractError(
                f"{stage.name} reads {table.name}, which {source} has not finished in "
                f"{store.root}; run {source} first"
            )
        found[source] = record["id"]
    return found


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Which keys differ between two nested dicts, as 'a.b: 1 -> 2'."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            found += differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    return [] if old == new else [f"{prefix}: {old!r} -> {new!r}"]


def refuse_other_config(
    store: Store, stage: Stage, identity: dict[str, Any], amendment: str = ""
) -> bool:
    """Raise ConfigError when the folder holds this stage, begun or done, with another config.

    amendment: the name of one that is about to begin: what it settles may differ. Returns whether
    that does.
    """
    record = load(store, stage.name)
    if record is None or record["state"] == _DISCARDED:
        return False
    changed = differences(record["config"], identity)
    settling = {stage.settled_by.get(name.partition(".")[0].partition(":")[0]) for name in changed}
    if not changed or settling == {amendment}:
        return bool(changed)
    remedy = "use another run.root, or --redo to do this stage and those after it again"
    if None not in settling and (record["state"] == "done" or "revision" in record):
        remedy = f"`{'`, `'.join(sorted(map(str, settling)))}` settles that; or {remedy}"
    raise ConfigError(
        f"{store.root} holds a {stage.name} with another config ({'; '.join(changed[:5])}); "
        f"{remedy}"
    )


def begin(store: Store, stage: Stage, identity: dict[str, Any], reads: dict[str, str]) -> str:
    """Record that a stage starts; its id, a digest of its config and its inputs' ids."""
    new: dict[str, Any] = {"config": identity, "inputs": reads}
    old = load(store, stage.name)
    if old is not None and (old["config"], old["inputs"]) == (identity, reads):
        new |= {key: old[key] for key in ("revision", "made_again") if key in old}
    stage_id = _id(new)
    started = {"stage": stage.name, "state": "started", "id": stage_id, **new}
    store.write_json(path(stage.name), started | {"version": pipeline.__version__})
    return stage_id


def _id(record: dict[str, Any]) -> str:
    told = ("config", "inputs", "revision", "made_again")
    return digest({key: record[key] for key in told if key in record})


def files_of(store: Store, stage: Stage) -> dict[str, list[int]]:
    """Number and bytes of the data files that a stage's tables and folders hold: Parquet of the
    tables, tars of the folders. A folder that is not there is not named."""
    fs, found = store.fs, {}
    fs.invalidate_cache()  # other processes have written there
    kinds = [(t.name, ".parquet") for t in stage.writes] + [(f, ".tar") for f in stage.folders]
    for name, ending in kinds:
        if store.exists(name):
            inside = fs.find(store.path(name), detail=True)
            sizes = [
                int(info["size"])
                for path, info in inside.items()
                if path.endswith(ending) and not path.rsplit("/", 1)[-1].startswith(".")
            ]
            found[name] = [len(sizes), sum(sizes)]
    return found


def changed_files(store: Store, stage: Stage, record: dict[str, Any]) -> dict[str, list[int]]:
    """Of a finished stage: files and bytes that were there and are not, by table or folder; less
    than none where there are more. What somebody has removed as a whole, to save space, is not
    told."""
    now = files_of(store, stage)
    found = {}
    for name, (files, size) in record.get("files", {}).items():
        if name in now and now[name] != [files, size]:
            found[name] = [files - now[name][0], size - now[name][1]]
    return found


def reopen(store: Store, stage: Stage) -> None:
    """Record that a finished stage has to make some of its files again. Its id is another one, so
    that the stages behind it, which saw the lost ones, are done again."""
    record: dict[str, Any] = store.read_json(path(stage.name))
    record["made_again"] = record.get("made_again", 0) + record.pop("revision", 0) + 1
    store.write_json(path(stage.name), record | {"state": "started", "id": _id(record)})


def write_progress(store: Store, stage: str, table: Table, parts: int, missing: int) -> None:
    """Note that a part stage sets out to do `missing` of its `parts`; `make status` reads it."""
    noted = {"table": table.name, "parts": parts, "missing": missing, "started_at": time.time()}
    store.write_json(f"_progress/{stage}.json", noted)


def progress(store: Store, stage: str) -> dict[str, Any] | None:
    """What `write_progress` noted of a stage, None when it never set out."""
    name = f"_progress/{stage}.json"
    return store.read_json(name) if store.exists(name) else None


def require_finished(store: Store, stage: Stage, reads: dict[str, str]) -> bool:
    """Whether an amendment of a finished stage was cut short. Raises ContractError when the stage
    is not finished on the present inputs."""
    record = load(store, stage.name)
    is_done = record is not None and record["state"] == "done"
    is_cut_short = record is not None and record["state"] == "started" and "revision" in record
    if record is None or record["inputs"] != reads or not (is_done or is_cut_short):
        raise ContractError(f"{stage.name} is not finished in {store.root}; run {stage.name} first")
    return is_cut_short


def amend(store: Store, stage: Stage, reads: dict[str, str]) -> str:
    """Record that what a finished stage wrote is being replaced part by part; its new id.

    The id is another one, so that stages which read it are done again. A stage whose amendment was
    cut short keeps the id it was given then. Raises as `require_finished`.
    """
    is_cut_short = require_finished(store, stage, reads)
    record: dict[str, Any] = store.read_json(path(stage.name))
    if not is_cut_short:
        record["revision"] = record.get("revision", 0) + 1
        record["state"] = "started"
        record["id"] = _id(record)
        store.write_json(path(stage.name), record)
    return str(record["id"])


def settle(store: Store, stage: Stage, identity: dict[str, Any]) -> None:
    """Record that what a finished stage wrote is up to date with another config."""
    record: dict[str, Any] = store.read_json(path(stage.name))
    store.write_json(path(stage.name), record | {"config": identity})


def finish(
    store: Store,
    stage: Stage,
    accounts: list[Account],
    seconds: float,
    used: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Record that a stage committed all it writes; the record. used: what that took, by name."""
    record: dict[str, Any] = store.read_json(path(stage.name))
    record |= used or {}
    record |= {
        "state": "done",
        "accounts": [a.to_json() for a in accounts],
        "files": files_of(store, stage),
        "seconds": round(seconds, 2),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    store.write_json(path(stage.name), record)
    return record


def history(folders: Sequence[str], stage: str) -> dict[str, list[Stretch]]:
    """What a stage counted in the runs of some folders: unit -> one stretch a run. Runs that are
    not there, or have not finished the stage, are left out."""
    found: dict[str, list[Stretch]] = {}
    for folder in folders:
        record = load(Store(folder), stage)
        if record is None or record["state"] != "done":
            continue
        for account in map(Account.from_json, record["accounts"]):
            counts = Counter({KEPT: account.kept, **account.dropped})
            stretch = Stretch(counts, 0.0, float(record["seconds"]))
            found.setdefault(account.unit, []).append(stretch)
    return found


def discard(store: Store, stages: Sequence[Stage]) -> None:
    """Forget stages and remove what they wrote.

    All are marked before anything is removed, the last of the line first: after a kill at any
    point, no stage counts as done whose output or input is gone, and the next run goes on.
    """
    for stage in reversed(stages):
        record = load(store, stage.name)
        if record is not None:
            store.write_json(path(stage.name), record | {"state": _DISCARDED})
    for stage in stages:
        _remove(store, stage)


def earlier(store: Store, stage: str) -> list[Store]:
    """Folders with the reusable tables that a stage wrote before it was last redone, oldest first.
    They are there until it calls `forget_earlier`."""
    folder = f"{_EARLIER}/{stage}"
    if not store.exists(folder):
        return []
    names = [
        f.rstrip("/").rsplit("/", 1)[-1] for f in store.fs.ls(store.path(folder), detail=False)
    ]
    return [Store(store.path(folder, name)) for name in sorted(names, key=int)]


def forget_earlier(store: Store, stage: str) -> None:
    """Remove what `earlier` gives: all of it that is wanted has been taken over."""
    store.remove(f"{_EARLIER}/{stage}")


def is_discarded(record: dict[str, Any]) -> bool:
    """True when a stage's output was being removed."""
    return bool(record["state"] == _DISCARDED)


def _set_aside(store: Store, stage: Stage) -> None:
    """Move reusable tables to where `earlier` finds them."""
    left = [name for name in stage.reusable if store.exists(name)]
    if left:
        known = [int(found.root.rsplit("/", 1)[-1]) for found in earlier(store, stage.name)]
        for name in left:
            store.move(name, f"{_EARLIER}/{stage.name}/{max(known, default=-1) + 1}/{name}")


def _remove(store: Store, stage: Stage) -> None:
    _set_aside(store, stage)
    for table in stage.writes:
        store.remove(table.name)
    for folder in stage.folders:
        store.remove(folder)
    store.remove(path(stage.name))
