"""One `main` for every job: load the config, check, run stages, commit, count, log.

spark-submit jobs/dedupe.py --config conf/default.toml --set dedupe.parts=64
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from pipeline.core import checksums, records, s3, ustar
from pipeline.core import config as config_file
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.claim import claimed
from pipeline.core.config import Config, RunSection
from pipeline.core.errors import (
    ContractError,
    DamagedFile,
    EnvironmentProblem,
    InputError,
    PairmillError,
)
from pipeline.core.failures import explain
from pipeline.core.filter import Filter
from pipeline.core.logs import open_log, summary
from pipeline.core.metrics import Metrics
from pipeline.core.redact import redact, redact_all, unsigned
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
        print(f"pairmill: {redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pairmill: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the run's log has the traceback
        print(f"pairmill: {explain(error)}", file=sys.stderr)
        return 1


def run(
    names: Sequence[str],
    line: Line,
    config: Config,
    redo: bool = False,
    store: Store | None = None,
) -> list[dict[str, Any]]:
    """Run the named stages in line order; their records. Finished ones are skipped.

    store: where they run, if not in the recipe's `run.root`.
    """
    chosen = [stage for stage in line if stage.name in names]
    store = store or Store(config.run.root)
    # The last stage's first: what is missing in the recipe (weights, a contact) is told before
    # archives are listed, which asks the network.
    identities = {stage.name: _identity(stage, config) for stage in reversed(chosen)}
    if not redo:
        for stage in chosen:
            records.refuse_other_config(store, stage, identities[stage.name])
    metrics = _metrics(config)
    _check_disk(store)
    started: dict[str, Any] = {"stages": [stage.name for stage in chosen], "redo": redo}
    with claimed(store), open_log(store, config.run.log_level, **started) as log:
        _tell_conditions(store, log)
        if redo:
            _discard(store, line[line.index(chosen[0]) :], config, log)
        done = []
        for stage in chosen:
            record = _finished(store, stage, line, log)
            if record is None:
                record = _run_stage(store, stage, line, config, identities[stage.name], metrics)
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
    metrics = _metrics(config)

    def context() -> Context[Any]:
        spark = session(f"pairmill {stage.name}")
        sections = config.sections
        return Context(stage.name, spark, store, section, sections, config.filters, metrics)

    if is_changed and amendment.settle is not None:
        amendment.settle(context())
    parts = amendment.find(store)
    if not parts and not is_cut_short:
        if is_changed:
            records.settle(store, stage, identity)
        later = f": {amendment.later(store)}" if amendment.later else ""
        print(f"{stage.name}: {amendment.name}: nothing is due{later}", file=sys.stderr)
        return None
    with (
        claimed(store),
        open_log(store, config.run.log_level, stages=[stage.name], redo=False) as log,
        bound_contextvars(stage=stage.name, id=records.amend(store, stage, reads)),
    ):
        log.info("amended", by=amendment.name, parts=len(parts))
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
        outside = json.loads(json.dumps(stage.check(config.sections[stage.name])))
        identity["outside"] = redact_all(outside, unsigned)
    return dict(json.loads(json.dumps(identity)))


def _metrics(config: Config) -> Metrics:
    """Where the run's figures go. Raises InputError for folders that `[run]` names and are not
    there."""
    for folder in config.run.usual_runs:
        if not Store(folder).exists("_stages"):
            raise InputError(f"run.usual_runs: {folder} is no folder of a run")
    file = config.run.metrics_file
    if file and not Path(file).absolute().parent.is_dir():
        raise InputError(f"run.metrics_file = {file}: there is no such folder")
    return Metrics(file)


def _discard(store: Store, stages: Line, config: Config, log: Any) -> None:
    """Remove what stages wrote that are done again, and note which keys are others by now."""
    for stage in stages:
        record = records.load(store, stage.name)
        if record is not None:
            now = json.loads(json.dumps(config.identity(stage)))
            before = {key: value for key, value in record["config"].items() if key != "outside"}
            changed = records.differences(before, now)
            log.info("discarded", stage=stage.name, why="redo", changed=changed)
    records.discard(store, stages)


def _check_disk(store: Store) -> None:
    if store.is_local:
        store.fs.makedirs(store.root, exist_ok=True)
        free = shutil.disk_usage(store.root).free
        if free < _NEEDED_DISK_BYTES:
            raise EnvironmentProblem(
                f"disk full: {store.root} has {free / 2**20:.0f} MiB free, a run needs at least "
                f"{_NEEDED_DISK_BYTES / 2**20:.0f} MiB; free some or set run.root elsewhere"
            )


def _tell_conditions(store: Store, log: Any) -> None:
    """On S3, tell what the server does not do on condition, which two attempts at one part need."""
    if not s3.is_s3(store.fs):
        return
    found = s3.conditions(store.fs, store.path("_stages"))
    log.info("storage", **found._asdict())
    if not all(found):
        what = "multipart uploads" if found.puts else "objects"
        print(
            f"pairmill: {store.root}: this server puts {what} over others, whatever If-None-Match "
            "says; of two attempts at a part that end at the same moment the later one stands "
            "(docs/storage.md)",
            file=sys.stderr,
        )


def _finished(store: Store, stage: Stage, line: Line, log: Any) -> dict[str, Any] | None:
    """The stage's record if it is done on the present inputs.

    What was made from inputs that have been redone since is discarded.
    """
    record = records.load(store, stage.name)
    if record is None:
        return None
    reads = records.inputs(store, stage, line)
    if record["inputs"] != reads or records.is_discarded(record):
        log.info("discarded", stage=stage.name, why="inputs", changed=[])
        records.discard(store, [stage])
        return None
    if record["state"] != "done":
        return None
    changed = records.changed_files(store, stage, record)
    if changed:
        _make_again(store, stage, changed)
    return None if changed else record


def _make_again(store: Store, stage: Stage, changed: dict[str, list[int]]) -> None:
    """Have a stage whose files are not all there done again, as far as they are missing. Raises
    DamagedFile, or ContractError, where files are there and are others."""
    for name, (files, _) in changed.items():
        if files <= 0:
            for file in sorted(store.fs.find(store.path(name))):
                _require_whole(store, file)
            raise ContractError(
                f"{store.path(name)} holds other files than {stage.name} wrote there; put them "
                f"back, or run {stage.name} with --redo"
            )
    told = ", ".join(f"{files} files of {name}" for name, (files, _) in changed.items())
    print(f"{stage.name}: {told} are gone and are made again", file=sys.stderr)
    records.reopen(store, stage)


def _require_whole(store: Store, file: str) -> None:
    """Raise DamagedFile unless a file is as it was written, as far as can be told: a tar by its
    size and end."""
    if file.endswith(".tar"):
        size = int(store.fs.size(file))
        end = store.fs.cat_file(file, start=max(0, size - len(ustar.END)), end=size)
        if size % ustar.BLOCK or end != ustar.END:
            raise DamagedFile(file, "it does not end as a tar does")
    elif file.endswith(".parquet"):
        if store.is_local and not checksums.holds(file):
            raise DamagedFile(file, "its size or content is not what was written")
        with store.open_table(file):
            pass


def _run_stage(
    store: Store,
    stage: Stage,
    line: Line,
    config: Config,
    identity: dict[str, Any],
    metrics: Metrics,
) -> dict[str, Any]:
    from pipeline.core.context import Context
    from pipeline.core.spark import CHECKPOINTS, keep_checkpoints, session
    from pipeline.core.usage import usage

    reads = records.inputs(store, stage, line)
    for source in (s for s in line if s.name in reads):
        if changed := records.changed_files(store, source, records.load(store, source.name) or {}):
            raise ContractError(
                f"{stage.name} reads {', '.join(changed)}, of which {source.name} wrote other "
                f"files; run {source.name} first"
            )
    why = "first" if records.load(store, stage.name) is None else "continued"
    stage_id = records.begin(store, stage, identity, reads)
    with bound_contextvars(stage=stage.name, id=stage_id):
        log = structlog.get_logger()
        log.info("started", why=why)
        started = time.monotonic()
        section: Any = config.sections[stage.name]
        spark = session(f"pairmill {stage.name}")
        sections = config.sections
        context: Context[Any] = Context(
            stage.name, spark, store, section, sections, config.filters, metrics
        )
        store.remove(CHECKPOINTS)  # of a stage that was killed
        keep_checkpoints(spark, store)
        before = usage(spark)
        with metrics.running(stage.name, spark):
            accounts = stage.build(context)
            used = usage(spark).since(before).to_json()
            store.remove(CHECKPOINTS)
            _check_accounts(stage, accounts, section)
            seconds = time.monotonic() - started
            context.bell.judge(accounts, seconds)
            metrics.account(stage.name, accounts)
        used |= {"cores": spark.sparkContext.defaultParallelism}
        record = records.finish(store, stage, accounts, seconds, used)
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
