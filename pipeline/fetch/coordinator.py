"""Tasks of one stage share parts, robots.txt files, and the gates of hosts and addresses.

A gate is held by one task at a time, which alone starts requests there by the gate's own rules; so
what all tasks together ask of a host keeps its limit, crawl-delay, pauses and breaker, whatever
their number. A gate that another task waits for changes hands after a short time, with its state;
requests under way then count as taken places until they end. Nobody waits for a host that no other
task wants, so messages grow with the number of hosts, not of URLs.

The coordinator is a thread of the driver; each task has one connection (`task_link`). When it
breaks, its parts, gates and sites are free again and its requests have ended with it.
"""

import asyncio
import hmac
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.fetch.gate import Gate
from pipeline.fetch.limits import Gates
from pipeline.fetch.messages import Outbox, read
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.shared_sites import Key, SharedSites

CONNECT_S = 30.0
_SWEEP_S = 30.0
_FAILURES_KEPT_S = 600.0
# Who tells that something happened: the holder, who has noted it; another task with a request under
# way; or one that was told as the holder and holds the gate no longer.
HOLDER, OTHER, FORMER = "holder", "other", "former"

Address = tuple[str, int, str]  # host, port, token


@dataclass(eq=False)
class _Shared:
    """A gate as the coordinator knows it. busy: requests under way of tasks that do not hold it."""

    gate: Gate
    holder: "_Task | None" = None
    queue: "deque[_Task]" = field(default_factory=deque)
    busy: "Counter[_Task]" = field(default_factory=Counter)


@dataclass(eq=False)
class _Task:
    outbox: Outbox
    parts: set[int] = field(default_factory=set)


class Coordinator:
    """Use as a context manager around the tasks; `address` is what they connect to.

    parts: what they take from, in this order. host: the name of this machine to the tasks. bind:
    its address to listen on, when that is another.
    """

    def __init__(
        self,
        parts: Iterable[int],
        settings: DownloadSection,
        host: str = "127.0.0.1",
        bind: str | None = None,
    ) -> None:
        self._parts = deque(parts)
        self._gates = Gates(settings)
        self._shared: dict[str, _Shared] = {}
        self._sites: SharedSites[_Task] = SharedSites(_tell_site)
        self._bind = bind or host
        self._token = secrets.token_hex(16)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.address: Address = (host, 0, self._token)

    def __enter__(self) -> "Coordinator":
        self._thread.start()
        start = asyncio.start_server(self._serve, self._bind, 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(CONNECT_S)
        port = self._server.sockets[0].getsockname()[1]
        self.address = (self.address[0], port, self._token)
        self._loop.call_soon_threadsafe(self._sweep)
        return self

    def __exit__(self, *exc: object) -> None:
        async def stop() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(CONNECT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONNECT_S)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = _Task(Outbox(writer))
        try:
            ((_, token),) = await asyncio.wait_for(read(reader), CONNECT_S)
            if not hmac.compare_digest(str(token), self._token):
                return
            while True:
                for message in await read(reader):
                    self._handle(task, *message)
        except (OSError, EOFError, ValueError, TypeError, msgspec.MsgspecError):
            pass
        except asyncio.CancelledError:
            pass  # the stage has ended; a server's callback must not raise this
        finally:
            self._lost(task)
            writer.close()

    def _handle(self, task: _Task, kind: str, key: Any, *rest: Any) -> None:
        if kind == "claim":
            part = self._parts.popleft() if self._parts else None
            if part is not None:
                task.parts.add(part)
            task.outbox.put("part", part)
        elif kind == "finished":
            task.parts.discard(key)
        elif kind == "want":
            self._want(task, self._of(key))
        elif kind == "return":
            self._returned(task, self._of(key), *rest)
        elif kind == "leave":
            self._leave(task, self._of(key))
        elif kind == "happened":
            self._happened(task, self._of(key), *rest)
        elif kind == "site":
            self._sites.wanted(task, _site_key(key))
        elif kind == "learnt":
            self._sites.learnt(task, _site_key(key), *rest)

    def _of(self, key: str) -> _Shared:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(self._gates.of(key))
        return shared

    def _want(self, task: _Task, shared: _Shared) -> None:
        if shared.gate.given_up is not None:
            task.outbox.put("happened", shared.gate.key, "give_up", shared.gate.given_up)
        elif shared.holder is None:
            self._grant(task, shared)
        else:
            shared.queue.append(task)
            shared.holder.outbox.put("wanted", shared.gate.key)

    def _grant(self, task: _Task, shared: _Shared) -> None:
        shared.holder = task
        shared.busy.pop(task, None)
        state = shared.gate.state()
        task.outbox.put("grant", shared.gate.key, state, bool(shared.queue))

    def _returned(self, task: _Task, shared: _Shared, state: list[Any], mine: int) -> None:
        if shared.holder is task:
            shared.gate.restore(state)
            shared.busy[task] = mine
            self._pass_on(shared)

    def _pass_on(self, shared: _Shared) -> None:
        shared.holder = None
        if shared.gate.is_given_up:
            while shared.queue:
                self._want(shared.queue.popleft(), shared)
        elif shared.queue:
            self._grant(shared.queue.popleft(), shared)

    def _leave(self, task: _Task, shared: _Shared) -> None:
        """A task has no use for a gate that it waits for."""
        if task in shared.queue:
            shared.queue.remove(task)

    def _happened(self, task: _Task, shared: _Shared, event: str, value: Any, by: str) -> None:
        if event == "left" and by == OTHER and shared.holder is not task:
            shared.busy[task] -= 1
        shared.gate.apply(event, value)
        if shared.holder is not None and by != HOLDER:
            shared.holder.outbox.put("happened", shared.gate.key, event, value)
        if shared.gate.is_given_up:
            while shared.queue:
                self._want(shared.queue.popleft(), shared)

    def _lost(self, task: _Task) -> None:
        """The task has ended, in whatever way: free what it held."""
        self._parts.extendleft(sorted(task.parts, reverse=True))
        self._sites.lost(task)
        for shared in self._shared.values():
            self._leave(task, shared)
            under_way = shared.busy.pop(task, 0)
            if shared.holder is task:
                shared.gate.active = sum(shared.busy.values())
                shared.gate.start(time.monotonic())
                self._pass_on(shared)
                continue
            shared.gate.active -= under_way
            for _ in range(under_way):
                if shared.holder is not None:
                    shared.holder.outbox.put("happened", shared.gate.key, "left", None)

    def _sweep(self) -> None:
        """Forget gates at rest, of which a crawl has as many as the web has hosts."""
        now = time.monotonic()
        for key, shared in list(self._shared.items()):
            gate = shared.gate
            quiet_s = _FAILURES_KEPT_S if gate.failures else 0.0
            is_used = shared.holder or shared.queue or gate.active or gate.is_given_up
            if not is_used and gate.next_at + quiet_s <= now:
                del self._shared[key]
                self._gates.forget(key)
        self._loop.call_later(_SWEEP_S, self._sweep)


def _tell_site(task: _Task, key: Key, answer: Any) -> None:
    task.outbox.put("site", list(key), answer)


def _site_key(key: Any) -> Key:
    scheme, host, port = key
    return scheme, host, port
