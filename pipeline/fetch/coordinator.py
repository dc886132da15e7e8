"""Tasks of one stage share parts, and the gates of hosts and addresses.

A gate is held by one task at a time, which alone starts requests there by the gate's own rules; so
what all tasks together ask of a host keeps its limit, crawl-delay, pauses and breaker, whatever
their number. A gate that another task waits for changes hands after a short time, with its state;
requests under way then count as taken places until they end. Nobody waits for a host that no other
task wants, so messages grow with the number of hosts, not of URLs.

The coordinator is a thread of the driver; each task has one connection. Frames are a 32-bit length
and a MessagePack list of messages [kind, key, ...]. When a connection breaks, its parts and gates
are free again and its requests have ended with it.
"""

import asyncio
import hmac
import random
import secrets
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.fetch.limits import Gate, Gates
from pipeline.fetch.settings import DownloadSection

_LENGTH = struct.Struct("<I")
_MAX_FRAME_BYTES = 64 * 2**20
_CONNECT_S = 30.0
# How long a task keeps a gate that others wait for: long enough to use it, short beside the time
# that a part takes.
_HOLD_S = 0.25
_SWEEP_S = 30.0
_FAILURES_KEPT_S = 600.0
# What whoever holds a gate next must know even when its holder dies.
_LASTING = frozenset({"slow_down", "pause", "give_up"})
# Who tells that something happened: the holder, who has noted it; another task with a request under
# way; or one that was told as the holder and holds the gate no longer.
_HOLDER, _OTHER, _FORMER = "holder", "other", "former"

Message = list[Any]
Address = tuple[str, int, str]  # host, port, token


async def _read(reader: asyncio.StreamReader) -> list[Message]:
    """The messages of one frame. Raises IncompleteReadError when the other side is gone."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _MAX_FRAME_BYTES:
        raise ConnectionError(f"frame of {length} bytes")
    messages: list[Message] = msgspec.msgpack.decode(await reader.readexactly(length))
    return messages


class _Outbox:
    """Sends what was put in during one turn of the loop as one frame."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._messages: list[Message] = []

    def put(self, *message: Any) -> None:
        if not self._messages:
            asyncio.get_running_loop().call_soon(self._flush)
        self._messages.append(list(message))

    def _flush(self) -> None:
        data = msgspec.msgpack.encode(self._messages)
        self._messages = []
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)


@dataclass(eq=False)
class _Shared:
    """A gate as the coordinator knows it. busy: requests under way of tasks that do not hold it."""

    gate: Gate
    holder: "_Task | None" = None
    queue: "deque[_Task]" = field(default_factory=deque)
    busy: "Counter[_Task]" = field(default_factory=Counter)


@dataclass(eq=False)
class _Task:
    outbox: _Outbox
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
        self._bind = bind or host
        self._token = secrets.token_hex(16)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.address: Address = (host, 0, self._token)

    def __enter__(self) -> "Coordinator":
        self._thread.start()
        start = asyncio.start_server(self._serve, self._bind, 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(_CONNECT_S)
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

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(_CONNECT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONNECT_S)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = _Task(_Outbox(writer))
        try:
            ((_, token),) = await asyncio.wait_for(_read(reader), _CONNECT_S)
            if not hmac.compare_digest(str(token), self._token):
                return
            while True:
                for message in await _read(reader):
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

    def _of(self, key: str) -> _Shared:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(self._gates.of(key))
        return shared

    def _want(self, task: _Task, shared: _Shared) -> None:
        if shared.gate.given_up_because is not None:
            task.outbox.put("happened", shared.gate.key, "give_up", shared.gate.given_up_because)
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
        if shared.gate.given_up_because is not None:
            while shared.queue:
                self._want(shared.queue.popleft(), shared)
        elif shared.queue:
            self._grant(shared.queue.popleft(), shared)

    def _leave(self, task: _Task, shared: _Shared) -> None:
        """A task has no use for a gate that it waits for."""
        if task in shared.queue:
            shared.queue.remove(task)

    def _happened(self, task: _Task, shared: _Shared, event: str, value: Any, by: str) -> None:
        if event == "left" and by == _OTHER and shared.holder is not task:
            shared.busy[task] -= 1
        shared.gate.apply(event, value)
        if shared.holder is not None and by != _HOLDER:
            shared.holder.outbox.put("happened", shared.gate.key, event, value)
        if shared.gate.given_up_because is not None:
            while shared.queue:
                self._want(shared.queue.popleft(), shared)

    def _lost(self, task: _Task) -> None:
        """The task has ended, in whatever way: free what it held."""
        self._parts.extendleft(sorted(task.parts, reverse=True))
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


class TaskLink:
    """A task's side: its connection to the coordinator. Implements `limits.Link`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outbox = _Outbox(writer)
        self._claims: deque[asyncio.Future[int | None]] = deque()
        self._held_since: dict[Gate, float] = {}
        self._wanted: set[Gate] = set()

    @classmethod
    async def connect(cls, address: Address) -> "TaskLink":
        """Raises OSError when the coordinator is not there."""
        host, port, token = address
        async with asyncio.timeout(_CONNECT_S):
            link = cls(*await asyncio.open_connection(host, port))
        link._outbox.put("hello", token)
        return link

    async def claim(self) -> int | None:
        """The next part to do; None when none is left."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._claims.append(future)
        self._outbox.put("claim", None)
        return await future

    def finished(self, part: int) -> None:
        """The part is published."""
        self._outbox.put("finished", part)

    def want(self, gate: Gate) -> None:
        """Ask for a gate; `Gates.granted` follows."""
        self._outbox.put("want", gate.key)

    def give_back(self, gate: Gate) -> None:
        """Let others have a gate, or wait for it no longer."""
        if gate.is_ours:
            gate.is_ours = False
            self._held_since.pop(gate, None)
            self._wanted.discard(gate)
            self._outbox.put("return", gate.key, gate.state(), gate.mine)
        else:
            self._outbox.put("leave", gate.key)

    def happened(self, gate: Gate, event: str, value: Any) -> None:
        """Tell what happened at a gate: who holds it must know, or who will."""
        if not gate.is_ours or event in _LASTING:
            by = _HOLDER if gate.is_ours else _OTHER
            self._outbox.put("happened", gate.key, event, value, by)

    async def serve(self, gates: Gates, needs: Any) -> None:
        """Handle what the coordinator says until the task ends. needs: whether there is something
        to ask for at a gate. Raises ConnectionError when it is lost."""
        try:
            while True:
                for message in await _read(self._reader):
                    self._handle(gates, needs, *message)
        except asyncio.IncompleteReadError:
            raise ConnectionError("the coordinator of the download is gone") from None
        finally:
            self._writer.close()

    def _handle(self, gates: Gates, needs: Any, kind: str, key: Any, *rest: Any) -> None:
        if kind == "part":
            claim = self._claims.popleft()
            if not claim.done():
                claim.set_result(key)
            return
        gate = gates.known(key)
        if kind == "grant":
            state, is_wanted = rest
            if gate is None:
                # It was wanted by what has ended since.
                self._outbox.put("return", key, state, 0)
                return
            self._held_since[gate] = time.monotonic()
            gates.granted(gate, state)
            if is_wanted and gate.is_ours:
                self._is_wanted(gates, needs, gate)
        elif kind == "wanted" and gate is not None and gate.is_ours:
            self._is_wanted(gates, needs, gate)
        elif kind == "happened":
            event, value = rest
            if gate is not None and (gate.is_ours or event == "give_up"):
                gate.apply(event, value)
                gates.changed(gate)
            elif event != "give_up":
                # It was given back in the meantime.
                self._outbox.put("happened", key, event, value, _FORMER)

    def _is_wanted(self, gates: Gates, needs: Any, gate: Gate) -> None:
        if gate not in self._wanted:
            self._wanted.add(gate)
            self._consider(gates, needs, gate)

    def _consider(self, gates: Gates, needs: Any, gate: Gate) -> None:
        """Give a gate back that others want, once it was held long enough to be used."""
        if gate not in self._wanted or not gate.is_ours:
            return
        now = time.monotonic()
        is_needed = needs(gate)
        # One that is asleep (a crawl-delay) is kept until its turn comes, else nobody ever had one.
        was_usable = gate.next_at <= now or gate.started_at >= self._held_since[gate]
        if not is_needed or (now - self._held_since[gate] >= _HOLD_S and was_usable):
            self.give_back(gate)
            if is_needed:
                gates.want(gate)
        else:
            hold = _HOLD_S * random.uniform(0.8, 1.2)
            asyncio.get_running_loop().call_later(hold, self._consider, gates, needs, gate)
