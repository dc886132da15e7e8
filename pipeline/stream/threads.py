"""A few threads that cannot keep a process from ending, whatever they wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """Runs functions on `count` daemon threads, first come, first served.

    Unlike concurrent.futures' executors, a function that never returns holds up nothing but its own
    thread: not `close`, and not the interpreter's exit.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have a function called; its result or exception comes through the future."""
        future: Future[T] = Future()
        self._jobs.put((future, function, arguments))
        return future

    def close(self) -> None:
        """End the threads as they become idle. What is submitted after is never done."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, arguments = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - the future carries it to who waits
                future.set_exception(error)
            del job, future
