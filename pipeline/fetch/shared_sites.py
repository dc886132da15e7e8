"""What the tasks of a stage tell each other of robots.txt files: one of them asks, all know.

The coordinator's side; `known_hosts` is a task's. A task that needs the rules of a site asks here
first, and is told them, or that it is the one to find them out, or waits for the one that does. A
task that ends without an answer is followed by the next that waits.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipeline.fetch.recent import Recent

# Answers that are kept for the stage: half a million at about 500 bytes. Beyond, the site that was
# least lately wanted may be asked again; those that several tasks want are the last to go.
_KEPT_BYTES = 256 * 2**20
_OVERHEAD_BYTES = 500

T = TypeVar("T")
Key = tuple[str, str, int]
# The fields of a `KnownSite`: robots, failure, detail, failures, fetched_at, expires_at.
Answer = list[Any]


@dataclass(eq=False)
class _Asked(Generic[T]):
    """A site that a task is finding out about, and those who wait for it."""

    by: T
    waiting: "deque[T]" = field(default_factory=deque)


class SharedSites(Generic[T]):
    """Who asks which site.

    tell: gives a task an answer, or None: it is to ask. clock: gives Unix time.
    """

    def __init__(
        self,
        tell: Callable[[T, Key, Answer | None], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._answers: Recent[Key, Answer] = Recent(_KEPT_BYTES)
        self._asked: dict[Key, _Asked[T]] = {}

    def wanted(self, task: T, key: Key) -> None:
        """A task needs the rules of a site."""
        answer = self._answers.get(key)
        if answer is not None and self._clock() < answer[-1]:
            self._tell(task, key, answer)
        elif key in self._asked:
            self._asked[key].waiting.append(task)
        else:
            self._asked[key] = _Asked(task)
            self._tell(task, key, None)

    def learnt(self, task: T, key: Key, answer: Answer | None) -> None:
        """What a task found out about a site; None: nothing."""
        asked = self._asked.get(key)
        if answer is not None:
            self._answers.put(key, answer, _OVERHEAD_BYTES + len(answer[0] or ""))
        if asked is None or asked.by is not task:
            return
        if answer is None:
            self._pass_on(key, asked)
            return
        del self._asked[key]
        for waiting in asked.waiting:
            self._tell(waiting, key, answer)

    def lost(self, task: T) -> None:
        """A task has ended, in whatever way."""
        for key, asked in list(self._asked.items()):
            asked.waiting = deque(other for other in asked.waiting if other is not task)
            if asked.by is task:
                self._pass_on(key, asked)

    def _pass_on(self, key: Key, asked: _Asked[T]) -> None:
        if asked.waiting:
            asked.by = asked.waiting.popleft()
            self._tell(asked.by, key, None)
        else:
            del self._asked[key]
