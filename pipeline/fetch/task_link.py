"""A task's side of what the tasks of a stage share; `coordinator` is the other."""

import asyncio
import random
import time
from collections import deque
from typing import Any

from pipeline.fetch.coordinator import CONNECT_S, FORMER, HOLDER, OTHER, Address
from pipeline.fetch.gate import Gate
from pipeline.fetch.known_hosts import Answer, Origin
from pipeline.fetch.limits import Gates
from pipeline.fetch.messages import Outbox, read

# How long a task keeps a gate that others wait for: long enough to use it, short beside the time
# that a part takes.
_HOLD_S = 0.25
# What whoever holds a gate next must know even when its holder dies.
_LASTING = frozenset({"slow_down", "pause", "give_up"})


class TaskLink:
    """A task's side: its connection to the coordinator. Implements `limits.Link` and
    `known_hosts.Sharing`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outbox = Outbox(writer)
        self._claims: deque[asyncio.Future[int | None]] = deque()
        self._held_since: dict[Gate, float] = {}
        self._wanted: set[Gate] = set()
        self._sites: dict[Origin, asyncio.Future[Answer | None]] = {}

    @classmethod
    async def connect(cls, address: Address) -> "TaskLink":
        """Raises OSError when the coordinator is not there."""
        host, port, token = address
        async with asyncio.timeout(CONNECT_S):
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

    async def site(self, origin: Origin) -> Answer | None:
        """What another task found out about a site, once it has; None: this task is to ask. One
        call for a site at a time."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._sites[origin] = future
        self._outbox.put("site", list(origin))
        return await future

    def learnt(self, origin: Origin, answer: Answer | None) -> None:
        """Tell what this task found out where it was to ask; None: nothing."""
        self._outbox.put("learnt", list(origin), answer)

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
            by = HOLDER if gate.is_ours else OTHER
            self._outbox.put("happened", gate.key, event, value, by)

    async def serve(self, gates: Gates, needs: Any) -> None:
        """Handle what the coordinator says until the task ends. needs: whether there is something
        to ask for at a gate. Raises ConnectionError when it is lost."""
        try:
            while True:
                for message in await read(self._reader):
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
        if kind == "site":
            scheme, host, port = key
            site = self._sites.pop((scheme, host, port))
            if not site.done():
                site.set_result(rest[0])
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
                self._outbox.put("happened", key, event, value, FORMER)

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
