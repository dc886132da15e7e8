"""The run's structured log (JSON lines) and the summary printed after every stage."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from pipeline.core.reasons import Status
from pipeline.core.stage import Stage
from pipeline.core.storage import Store


@contextmanager
def open_log(store: Store) -> Iterator[Any]:
    """A logger that writes one JSON object per line to `_logs/<start>.jsonl` of the run.

    On object storage, where a file cannot be appended to, it writes to stderr.
    """
    logging.getLogger("py4j").setLevel(logging.WARNING)
    if store.is_local:
        store.fs.makedirs(store.path("_logs"), exist_ok=True)
        name = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        file = open(store.path("_logs", f"{name}.jsonl"), "a", encoding="utf-8")  # noqa: SIM115
    else:
        file = sys.stderr  # type: ignore[assignment]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=False,
    )
    try:
        yield structlog.get_logger()
    except BaseException:
        with suppress(OSError):  # on a full disk the failure itself is to be told, not this one
            structlog.get_logger().error("failed", exc_info=True)
        raise
    finally:
        structlog.reset_defaults()
        if file is not sys.stderr:
            with suppress(OSError):
                file.close()


def summary(store: Store, stage: Stage, record: dict[str, Any]) -> str:
    """What a stage did, for people: in, kept, dropped by reason, rate, where the output is.

    Counts stand in one column, whatever the length of units and reasons.
    """
    seconds = record["seconds"]
    outputs = [stage.output] if stage.output else [table.name for table in stage.writes]
    outputs = [name for name in outputs if store.exists(name)] or outputs
    lines = [f"{stage.name}: {seconds:.1f} s -> {', '.join(map(store.path, outputs))}"]
    accounts = record["accounts"]
    names = [a["unit"] for a in accounts] + [f"  {r}" for a in accounts for r in a["dropped"]]
    wide = max(map(len, names), default=0) + 4
    for account in accounts:
        rows_in, dropped = account["in"], account["dropped"]
        rate = rows_in / seconds if seconds else 0.0
        unit = account["unit"].replace("_", " ")
        of_in = f"{rows_in:,} in, {rate:,.0f}/s"
        lines.append(f"  {unit:{wide}} {account['kept']:>12,} kept of {of_in}")
        lines += [
            f"  {'  ' + reason:{wide}} {rows:>12,} {rows / rows_in:6.1%} dropped"
            for reason, rows in dropped.items()
        ]
        if saved := dropped.get(Status.FILTERED):
            lines.append(f"  {saved:,} requests saved by filters before the download")
        if account.get("cpu_s") and account["kept"]:
            steps = account["cpu_s"].items()
            each = ", ".join(f"{step} {s / account['kept'] * 1e3:.2f}" for step, s in steps)
            lines.append(f"  CPU ms for each of them: {each}")
    return "\n".join(lines)
