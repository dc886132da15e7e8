"""Who trains together: processes that find each other through a store, lose each other and go on.

A *generation* is a list of members that train as one process group. A step is done by all of its
members or by none: `commit` decides by one counter. When a step fails, or somebody asked to join,
the members that are there form the next generation between two steps; no process restarts. torchrun
may start one that died again: it asks to join, like any other.

The store is PyTorch's TCPStore, which one process keeps (`keep`). It holds no sample and no
gradient, some hundred bytes a step; if it ends, the run ends, and goes on from its checkpoint.
"""

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pipeline.core.errors import PairmillError

_APPLIED, _DROPPED = "applied", "dropped"
_FIRST = 1
_POLL_S = 0.005


class Unattended(PairmillError):
    """Nobody took this process in for too long, or the store does not answer."""


@dataclass(frozen=True)
class Generation:
    """Members that train as one group. number: from 1.

    capacities: member -> capacity, in the order of ranks: those that were there before come first.
    newcomers: members that do not have what the others have learnt.
    asked: how many had asked to join when it was formed.
    """

    number: int
    capacities: dict[str, int]
    newcomers: frozenset[str]
    asked: int


class Membership:
    """One process's part in a run that others join and leave.

    store: shared by all of them. name: informative; a number is added, so that names are unique.
    capacity: its share of every batch, in samples or any unit.
    grace_s: how long members wait for each other after a failure. timeout_s: how long for a
    collective operation, and for a place in the run.
    """

    def __init__(
        self,
        store: Any,
        name: str,
        capacity: int,
        *,
        grace_s: float = 5.0,
        timeout_s: float = 120.0,
    ) -> None:
        self._store = dist.PrefixStore("pairmill", store)
        self._label, self._capacity = name, capacity
        self._grace_s, self._timeout_s = grace_s, timeout_s
        self.name = ""
        self.generation = Generation(0, {}, frozenset(), 0)
        self._is_new = False

    def join(self, expected: int = 1) -> Generation | None:
        """Ask to be a member, and wait until one is: at the start of a run when `expected` have
        asked, later between two steps. None when the run is over.

        Raises Unattended when neither comes within `timeout_s`.
        """
        number = self._store.add("asked", 1)
        self.name = f"{self._label}.{number}"
        self._store.set(f"asked/{number}", json.dumps([self.name, self._capacity]))
        deadline = time.monotonic() + self._timeout_s
        if number == expected:
            self._form(_FIRST, [])
        seen = max(self.generation.number, 0)
        while True:
            found = self._formed(seen + 1)
            if found and self.name in found.capacities:
                return self._entered(found)
            if found:
                seen += 1
                continue
            if self._store.check(["over"]):
                return None
            if time.monotonic() > deadline:
                raise Unattended(
                    f"{self.name} has waited {self._timeout_s:g} s for a place in the run; "
                    f"{number} have asked, it begins with {expected}"
                )
            time.sleep(_POLL_S)

    def connect(self) -> None:
        """Make this generation torch's process group. Raises RuntimeError when one is not there."""
        members = list(self.generation.capacities)
        dist.init_process_group(
            "gloo",
            store=dist.PrefixStore(f"group/{self.generation.number}", self._store),
            rank=members.index(self.name),
            world_size=len(members),
            timeout=timedelta(seconds=self._timeout_s),
        )

    def commit(self, step: str) -> bool:
        """This member is ready to apply a step: whether all are, and everyone is to apply it.

        step: the same text for all members, used once in a generation. False when a member has
        not come in `grace_s` after this one, or `drop` was called; then nobody applies it.
        """
        key = f"{self.generation.number}/{step}"
        verdict = _DROPPED  # unless it is decided by now: what was decided stays
        if self._store.add(f"{key}/ready", 1) == len(self.generation.capacities):
            verdict = _APPLIED
        deadline = time.monotonic() + self._grace_s
        while verdict == _DROPPED and not self._store.check([key]):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S / 5)
        is_applied = self._decide(key, verdict) == _APPLIED
        self._is_new = self._is_new and not is_applied
        return is_applied

    def drop(self, step: str) -> None:
        """This member could not do a step: nobody is to apply it. Ends the process group, so that
        those who still wait for this member in it stop waiting."""
        self._decide(f"{self.generation.number}/{step}", _DROPPED)
        self.disconnect()

    def is_to_regroup(self, step: str) -> bool:
        """Whether somebody had asked to join when a step was decided: the same for all members."""
        key = f"{self.generation.number}/{step}"
        asked = int(self._store.get(key).decode().partition(" ")[2])
        return asked > self.generation.asked

    def regroup(self) -> Generation | None:
        """The next generation: members that come here within `grace_s`, and who asked to join. A
        member that was left out, because it came too late, joins anew, and so does one that has
        not yet applied a step. None when the run is over.
        """
        self.disconnect()
        if self._is_new:
            return self.join(expected=0)
        old, number = self.generation, self.generation.number + 1
        self._store.set(f"present/{number}/{self.name}", "")
        deadline = time.monotonic() + self._grace_s
        while not (found := self._formed(number)):
            here = [n for n in old.capacities if self._store.check([f"present/{number}/{n}"])]
            if len(here) == len(old.capacities) or time.monotonic() > deadline:
                self._form(number, here)
            else:
                time.sleep(_POLL_S)
        return self._entered(found) if self.name in found.capacities else self.join(expected=0)

    def end(self) -> None:
        """The run is over: nobody is taken in any more."""
        self._store.set("over", "")
        self.disconnect()

    def disconnect(self) -> None:
        """End the process group, if there is one."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _decide(self, key: str, verdict: str) -> str:
        """The verdict on a step: this one, unless there is one."""
        asked = self._store.add("asked", 0)
        return str(self._store.compare_set(key, "", f"{verdict} {asked}").decode()).split()[0]

    def _form(self, number: int, staying: list[str]) -> None:
        """Publish a generation, unless another member has."""
        asked = self._store.add("asked", 0)
        capacities = {name: self.generation.capacities[name] for name in staying}
        newcomers = []
        for request in range(self.generation.asked + 1, asked + 1):
            try:
                self._store.wait([f"asked/{request}"], timedelta(seconds=self._grace_s))
            except RuntimeError:  # it died between its two calls
                continue
            name, capacity = json.loads(self._store.get(f"asked/{request}"))
            capacities[name] = capacity
            newcomers.append(name)
        # At the start all have the same, made from a seed or a checkpoint.
        told = [list(capacities.items()), newcomers if number > _FIRST else [], asked]
        self._store.compare_set(f"generation/{number}", "", json.dumps(told))

    def _formed(self, number: int) -> Generation | None:
        key = f"generation/{number}"
        if not self._store.check([key]):
            return None
        capacities, newcomers, asked = json.loads(self._store.get(key))
        return Generation(number, dict(capacities), frozenset(newcomers), asked)

    def _entered(self, generation: Generation) -> Generation:
        self.generation = generation
        self._is_new = self.name in generation.newcomers
        return generation


def keep(port: int) -> Any:
    """A store for a run, on every interface of this machine; port 0 for any that is free. It lives
    as long as the object."""
    return dist.TCPStore("0.0.0.0", port, is_master=True, wait_for_workers=False)


def reach(address: str, timeout_s: float = 60.0) -> Any:
    """The store kept at "host:port". Raises Unattended when there is none."""
    host, _, port = address.rpartition(":")
    try:
        return dist.TCPStore(host, int(port), timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise Unattended(f"no store answers at {address}: {str(error).splitlines()[0]}") from None
