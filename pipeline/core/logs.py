"""The run's event log (JSON lines) and the summary printed after every stage."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Literal

import structlog

import pipeline
from pipeline.core.failures import explain
from pipeline.core.reasons import Status
from pipeline.core.redact import failure, redact_all, told, unsigned
from pipeline.core.stage import Stage
from pipeline.core.storage import Store

FOLDER = "_logs"
# Every event, and what its line holds beside `event`, `level`, `timestamp` (UTC), `run` (of the
# process that wrote it) and, inside a stage, `stage` and `id`.
EVENTS = {
    "run_started": "version, stages, redo",
    "run_ended": "seconds",
    "run_failed": "seconds, error (class), frames (file:line function), message",
    "skipped": "a stage that is done",
    "discarded": "what a stage wrote is removed: why (redo, or inputs: they were made anew), "
    "changed (keys of the config, as 'a.b: 1 -> 2')",
    "started": "a stage: why (first; continued, of one that was cut short)",
    "done": "a stage, or an amendment of it: accounts, seconds",
    "amended": "parts of a finished stage are replaced: by (retry, recheck), parts",
    "step_done": "one query of a stage: label, seconds",
    "parts_done": "parts that were committed: label, parts, first (numbers of some), of, "
    "accounts, bytes, seconds (of all), slowest_s; a stage writes some 1,000 at most",
    "tasks_failed": "Spark tasks that failed and are tried again: label, tasks",
    "executors": "executors came or went: before, now",
    "alarm": "a figure left its usual range: unit, figure, value, low, high (null: no end), usual "
    "(where the range is from), since, rows, action (warn or stop), runbook, text",
    "alarm_over": "it is back in it: unit, figure",
    "storage": "what an S3 server does on condition: puts, completes (of multipart uploads)",
    "planned": "what a search will take, from match and cluster",
    "searched": "what it took beside what was expected",
    "audited": "recall of a search, by brute force on a sample",
}
# On object storage a file is put anew with its lines so far, so often and until it is so large.
_SEGMENT_BYTES = 1 << 20
_PUT_EVERY_S = 60.0


class _Appended:
    """Lines of a local file. What a full disk does not take is lost; that is no reason to fail."""

    def __init__(self, store: Store, name: str) -> None:
        store.fs.makedirs(store.path(FOLDER), exist_ok=True)
        path = store.path(FOLDER, f"{name}.jsonl")
        self._file: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - see close

    def write(self, line: str) -> None:
        with suppress(OSError):
            self._file.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class _Segments:
    """Lines of files that cannot be appended to: the last one is put anew, whole, once a minute."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._lines: list[str] = []
        self._number, self._is_put = 0, True
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_putting, name="event log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self._is_put = False

    def flush(self) -> None:
        """Nothing: each line alone would be a request."""

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._put()

    def _keep_putting(self) -> None:
        while not self._stop.wait(_PUT_EVERY_S):
            self._put()

    def _put(self) -> None:
        with self._lock:
            if self._is_put:
                return
            data = "".join(self._lines).encode()
            name = f"{FOLDER}/{self._name}-{self._number:04d}.jsonl"
            with suppress(OSError):
                with self._store.publish(name) as file:
                    file.write(data)
                self._is_put = True
                if len(data) >= _SEGMENT_BYTES:
                    self._lines, self._number = [], self._number + 1


class _Redacted(logging.Formatter):
    """What libraries warn of, without credentials and what they quote."""

    def format(self, record: logging.LogRecord) -> str:
        return told(f"{record.name}: {record.getMessage()}")


@contextmanager
def open_log(
    store: Store, level: Literal["info", "debug"] = "info", **started: Any
) -> Iterator[Any]:
    """A logger of this run's events (see `EVENTS`): JSON lines in `_logs/<start>-<run>.jsonl`, on
    object storage in `_logs/<start>-<run>-<number>.jsonl`.

    Every line is redacted. A failure is told by class and place; with level "debug" by all it says,
    which may quote captions and pages.
    """
    logging.getLogger("py4j").setLevel(logging.WARNING)
    begun, run = time.monotonic(), uuid.uuid4().hex[:8]
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{run}"
    file = _Appended(store, name) if store.is_local else _Segments(store, name)

    def finish(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return dict(redact_all({"run": run, **event}))

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            finish,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if level == "debug" else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(file=file),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    libraries = logging.StreamHandler()
    libraries.setLevel(logging.WARNING)
    libraries.setFormatter(_Redacted())
    logging.getLogger().addHandler(libraries)
    log = structlog.get_logger()
    log.info("run_started", version=pipeline.__version__, **started)
    try:
        yield log
        log.info("run_ended", seconds=round(time.monotonic() - begun, 1))
    except BaseException as error:
        seconds = round(time.monotonic() - begun, 1)
        log.error("run_failed", seconds=seconds, **failure(error), message=explain(error))
        log.debug("traceback", exc_info=True)
        raise
    finally:
        logging.getLogger().removeHandler(libraries)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
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
    return unsigned("\n".join(lines))
