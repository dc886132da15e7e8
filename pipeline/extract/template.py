"""The process that reading processes are forked from: it loads once what takes seconds.

Run as `python -m pipeline.extract.template <descriptor of the control socket> <reader>`. It is the
parent of what it forks: it ends them when the task is done with them, tells how they ended, and
ends with the task, whose end of the control socket is closed then.

Forking is sound because there is one thread: nobody holds a lock that the child would wait for. The
kernels are not parallel, OpenBLAS and OpenMP are told to use one thread, Arrow starts its threads
with the first read that uses them (only a child reads), and its allocator's is turned off.
"""

import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NamedTuple

from pipeline.core.wire import write_frame

_PR_SET_PDEATHSIG = 1


class _WithoutPandas:
    """Keeps Arrow from loading pandas, if it is there, to see whether a list is a Series of it: two
    seconds and 80 MB."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used where archives are read", name=name)
        return None


class _Child(NamedTuple):
    """life: to the task, which closes its end to have the child killed; its exit status is sent
    there. end: of a pipe that the child alone holds open."""

    pid: int
    life: socket.socket
    end: int

    def reap(self) -> None:
        """Wait for its end, which is near, and tell the task."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with suppress(OSError):  # the task is gone
            self.life.send(b"%d" % code)
        self.release()

    def release(self) -> None:
        """Close what this process has of it."""
        self.life.close()
        os.close(self.end)


def _read(connection: int, notes: int, template: int) -> None:
    """A child's life."""
    from pipeline.extract.task import Notes
    from pipeline.extract.worker import serve

    status = 1
    try:
        # Killed with the template, however that ends.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == template:  # it had not died before that was asked for
            with suppress(OSError, EOFError):  # the task is gone
                serve(socket.socket(fileno=connection), Notes(notes))
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of the template may run in the child
        traceback.print_exc()
    finally:
        os._exit(status)


def _fork(control: socket.socket, children: list[_Child], given: Sequence[int]) -> _Child:
    """A child with descriptors of its connection, its notes, its life and the task's folder."""
    connection, notes, life, folder = given
    end, held = os.pipe()
    template = os.getpid()
    pid = os.fork()
    if not pid:
        control.close()
        os.close(life)
        os.close(end)
        for child in children:
            child.release()
        os.fchdir(folder)
        os.close(folder)
        _read(connection, notes, template)
    for descriptor in (connection, notes, folder, held):
        os.close(descriptor)
    return _Child(pid, socket.socket(fileno=life), end)


def keep(control: socket.socket) -> None:
    """Fork when the task asks to, until it is gone."""
    children: list[_Child] = []
    while True:
        watched: list[socket.socket | int] = [control]
        watched += [c.life for c in children] + [c.end for c in children]
        ready = select.select(watched, [], [])[0]
        for child in list(children):
            if child.life in ready:
                os.kill(child.pid, signal.SIGKILL)
            if child.life in ready or child.end in ready:
                child.reap()
                children.remove(child)
        if control in ready:
            asked, given, _, _ = socket.recv_fds(control, 1, 4)
            if not asked:
                break
            children.append(_fork(control, children, given))
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.reap()


def main(control: socket.socket, reader: str) -> None:
    """Load the reader and what serves it, say so, and fork."""
    sys.meta_path.insert(0, _WithoutPandas)
    importlib.import_module("pipeline.extract.worker")
    importlib.import_module(reader).warm_up()
    # What is there now is never garbage: a collection in a child would copy its pages.
    gc.collect()
    gc.freeze()
    write_frame(control, b"ready")
    keep(control)


if __name__ == "__main__":
    with suppress(OSError):  # the task is gone
        main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    os._exit(0)
