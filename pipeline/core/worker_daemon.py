"""PySpark's daemon, but one that waits for its workers.

PySpark's own ignores their end, and the system then gives nobody the processor time that they took.
Waited for, they are counted with the daemon, see `usage`. It runs as `spark.python.daemon.module`.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

from pyspark import daemon

_set_handler = signal.signal


def _wait_for_ended(_signal: int, _frame: FrameType | None) -> None:
    """All that have ended: several at once may be told by one signal."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _set_but_wait(number: int, handler: "signal._HANDLER") -> "signal._HANDLER":
    """In place of `signal.signal`: children whose end would be ignored are waited for."""
    ignores = number == signal.SIGCHLD and handler is signal.SIG_IGN
    return _set_handler(number, _wait_for_ended if ignores else handler)


if __name__ == "__main__":
    signal.signal = _set_but_wait  # type: ignore[assignment]
    daemon.manager()
