"""One `main` for every job: load the config, check, run stages, commit, count, log.

spark-submit jobs/dedupe.py --config conf/default.toml --set dedupe.parts=64
"""

import errno
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.core import config as config_file
from pipeline.core import records
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.claim import claimed
from pipeline.core.config import Config, RunSection
from pipeline.core.errors import EnvironmentProblem, PairmillError
from pipeline.core.filter import Filter
from pipeline.core.logs import open_log, summary
from pipeline.core.stage import Section, Stage
from pipeline.core.storage import Store

Line = tuple[Stage, ...]
_NEEDED_DISK_BYTES = 200 * 2**20


def load_config(
    path: str,
    overrides: Sequence[str],
    line: Line,
    filters: Mapping[str, type[Filter]],
    extra: Mapping[str, type[Section]] | None = None,
) -> Config:
    """A config file checked against every stage's section."""
    sections: dict[str, type[Section]] = {"run": RunSection, **(extra or {})}
    sections |= {stage.name: stage.config for stage in line}
    return config_file.load(path, overrides, sections, filters)


def guarded(work: Callable[[], object]) -> int:
    """Run `work`; turn every failure into one line on stderr and an exit status.

    0: done. 1: a stage failed. 2: config, input or environment refused, nothing written.
    130: interrupted. The same command again goes on where it stopped.
    """
    try:
        work()
        return 0
    except PairmillError as error:
        print(f"pairmill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pairmill: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the run's log has the traceback
        print(f"pairmill: {explain(error)}", file=sys.stderr)
        return 1


def run(
    names: Sequence[str], line: Line, config: Config, redo: bool = False
) -> list[dict[str, Any]]:
    """Run the named stages in line order; their records. Finished ones are skipped."""
    chosen = [stage for stage in line if stage.name in names]
    store = Store(config.run.root)
    # The last stage's first: what is missing in the recipe (weights, a contact) is told before
    # archives are listed, which asks the network.
    identities = {stage.name: _identity(stage, config) for stage in reversed(chosen)}
    if not redo:
        for stage in chosen:
            records.refuse_other_config(store, stage, identities[stage.name])
    _check_disk(store)
    with claimed(store), open_log(store) as log:
        if redo:
            records.discard(store, line[line.index(chosen[0]) :])
        done = []
        for stage in chosen:
            record = _finished(store, stage, line)
            if record is None:
                record = _run_stage(store, stage, line, config, identities[stage.name], log)
            else:
                log.info("skipped", stage=stage.name, id=record["id"])
                print(f"{stage.name}: done before, skipped", file=sys.stderr)
            done.append(record)
        return done


def amend(
    stage: Stage, line: Line, config: Config, amendment: Amendment[Any]
) -> dict[str, Any] | None:
    """Replace parts of what a finished stage wrote; its record, or None when there is nothing to
    replace. The stages behind it are done again by the next run."""
    from pipeline.core.context import Context
    from pipeline.core.spark import session

    store = Store(config.run.root)
    identity = _identity(stage, config)
    is_changed = records.refuse_other_config(store, stage, identity, amendment.name)
    _check_disk(store)
    reads = records.inputs(store, stage, line)
    is_cut_short = records.require_finished(store, stage, reads)
    started = time.monotonic()
    section: Any = config.sections[stage.name]

    def context() -> Context[Any]:
        spark = session(f"pairmill {stage.name}")
        return Context(stage.name, spark, store, section, config.sections, config.filters)

    if is_changed and amendment.settle is not None:
        amendment.settle(context())
    parts = amendment.find(store)
    if not parts and not is_cut_short:
        if is_changed:
            records.settle(store, stage, identity)
        print(f"{stage.name}: {amendment.name}: nothing is due", file=sys.stderr)
        return None
    with claimed(store), open_log(store) as log:
        stage_id = records.amend(store, stage, reads)
        log = log.bind(stage=stage.name, id=stage_id)
        log.info(amendment.name, parts=len(parts))
        accounts = amendment.build(context(), parts)
        # Last: until all is replaced, a run with this config is told to go on with the amendment.
        records.settle(store, stage, identity)
        record = records.finish(store, stage, accounts, time.monotonic() - started)
        log.info("done", accounts=record["accounts"], seconds=record["seconds"])
        print(summary(store, stage, record), file=sys.stderr)
        return record


def _identity(stage: Stage, config: Config) -> dict[str, Any]:
    """What the stage's output depends on: config and what it takes from outside; JSON-ready."""
    identity = config.identity(stage)
    if stage.check:
        identity["outside"] = stage.check(config.sections[stage.name])
    return dict(json.loads(json.dumps(identity)))


def _check_disk(store: Store) -> None:
    if store.is_local:
        store.fs.makedirs(store.root, exist_ok=True)
        free = shutil.disk_usage(store.root).free
        if free < _NEEDED_DISK_BYTES:
            raise EnvironmentProblem(
                f"{store.root} has {free / 2**20:.0f} MiB free, a run needs at least "
                f"{_NEEDED_DISK_BYTES / 2**20:.0f} MiB; free some or set run.root elsewhere"
            )


def _finished(store: Store, stage: Stage, line: Line) -> dict[str, Any] | None:
    """The stage's record if it is done on the present inputs.

    What was made from inputs that have been redone since is discarded.
    """
    record = records.load(store, stage.name)
    if record is None:
        return None
    reads = records.inputs(store, stage, line)
    if record["inputs"] != reads or records.is_discarded(record):
        records.discard(store, [stage])
        return None
    return record if record["state"] == "done" else None


def _run_stage(
    store: Store, stage: Stage, line: Line, config: Config, identity: dict[str, Any], log: Any
) -> dict[str, Any]:
    from pipeline.core.context import Context
    from pipeline.core.spark import CHECKPOINTS, keep_checkpoints, session

    stage_id = records.begin(store, stage, identity, records.inputs(store, stage, line))
    log = log.bind(stage=stage.name, id=stage_id)
    log.info("started")
    started = time.monotonic()
    section: Any = config.sections[stage.name]
    spark = session(f"pairmill {stage.name}")
    context: Context[Any] = Context(
        stage.name, spark, store, section, config.sections, config.filters
    )
    store.remove(CHECKPOINTS)  # of a stage that was killed
    keep_checkpoints(spark, store)
    accounts = stage.build(context)
    store.remove(CHECKPOINTS)
    _check_accounts(stage, accounts, section)
    cores = spark.sparkContext.defaultParallelism
    record = records.finish(store, stage, accounts, time.monotonic() - started, cores)
    log.info("done", accounts=record["accounts"], seconds=record["seconds"])
    print(summary(store, stage, record), file=sys.stderr)
    return record


def _check_accounts(stage: Stage, accounts: list[Account], section: Any) -> None:
    for account in accounts:
        account.check(stage.name)
        for reason, rows in account.dropped.items():
            share, bound = rows / account.rows_in, section.max_drop_share
            if share > bound:
                raise PairmillError(
                    f"{stage.name}: {reason} drops {share:.1%} of {account.rows_in} "
                    f"{account.unit}, over {stage.name}.max_drop_share = {bound:.1%}; "
                    "look for the cause, or raise the bound"
                )


def explain(error: BaseException) -> str:
    """One line for a failure inside a stage: the innermost cause that says something."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "disk full: free some space and run the same command again; finished parts are kept"
    text = str(error)
    if "No space left on device" in text:
        return "disk full: free some space and run the same command again; finished parts are kept"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("pipeline.core.errors.")]
    if told:
        return told[-1].split(": ", 1)[-1]
    python = [line for line in lines if "Error: " in line and not line.startswith(("at ", "File "))]
    return (python[-1] if python else lines[0] if lines else type(error).__name__)[:500]
