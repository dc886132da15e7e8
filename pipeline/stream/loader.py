"""Streams a view for training: every sample once an epoch, whoever comes, goes or fails.

A global step is `batch_size` samples. Which ones is a function of view, seed, epoch and step alone
(`plan`); each member of the run serves the lanes that `roster.assign` gives it. A step counts when
it is committed; until then the same samples are served again, to whoever is a member then.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import PairmillError
from pipeline.core.storage import file_system
from pipeline.stream import chunks, views
from pipeline.stream.cache import DiskCache
from pipeline.stream.chunks import I32
from pipeline.stream.fetches import Fetches
from pipeline.stream.plan import Places, Plan, Schedule
from pipeline.stream.ranges import Patience, Ranges
from pipeline.stream.remote import RemoteSamples
from pipeline.stream.roster import assign
from pipeline.stream.samples import Damage, LocalSamples, Samples, StalledRead, UnderWay
from pipeline.stream.state import State, refuse_other
from pipeline.stream.threads import Threads
from pipeline.stream.tombstones import Tombstones
from pipeline.stream.views import View

# Lanes unless one says so: the largest divisor of the batch size up to this.
_MANY_LANES = 512


@dataclass(frozen=True)
class Reading:
    """How samples are fetched; changes no order.

    ahead: steps that are read before they are asked for. threads: that read steps.
    connections: ranges asked of a remote storage at a time, and as many again of those that are
    long in coming. buffer_bytes: chunks of a remote release held in memory at most; all of them
    where they fit, else those that are not used up. cache: a local folder for them, of
    `cache_bytes`; empty for none.
    tombstones: a file of keys to be masked; empty for the release's own, where it has one.
    stall_s: a step that is not there after so long ends the run, by name, rather than hang it.
    """

    ahead: int = 2
    threads: int = 2
    connections: int = 32
    buffer_bytes: int = 1 << 30
    cache: str = ""
    cache_bytes: int = 100 << 30
    tombstones: str = ""
    stall_s: float = 120.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Batch:
    """This member's samples of a global step, in lane order.

    weight: float32; 0 for a sample that is masked (damaged beyond help, or under a tombstone),
    whose members are then empty, else 1. shard, row: int32, where each is from.
    state: to be saved with the model once this step has been applied.
    """

    step: int
    keys: list[str]
    jpg: list[bytes]
    txt: list[bytes]
    json: list[bytes]
    weight: npt.NDArray[np.float32]
    shard: I32
    row: I32
    state: State

    def __len__(self) -> int:
        return len(self.keys)


class EndOfEpoch(PairmillError):
    """All steps of the epoch are committed; `next_epoch` starts another."""


class Stream:
    """One member's end of a run over a view.

    view: a view, or where a release is. batch_size: samples of a global step, of all members.
    lanes: a divisor of it; at least some times the number of members, so that shares come out
    even. window: chunks shuffled together. chunk_samples: 0 for `chunks.chunk_samples`.
    member, members: this member's name, and all names with their capacities.
    partial_step: whether the last step, smaller than the others, is served.
    state: a saved place to start from, as `load_state_dict` takes it; it has the order's settings.
    stride: steps are read ahead one by one, or every `stride`-th where they are shared out.
    Raises InputError for a view or release that is not there, ValueError for sizes that do not fit.
    """

    def __init__(
        self,
        view: View | str,
        batch_size: int,
        *,
        seed: int = 0,
        lanes: int = 0,
        window: int = 4,
        chunk_samples: int = 0,
        member: str = "only",
        members: Mapping[str, int] | None = None,
        partial_step: bool = True,
        state: Mapping[str, Any] | None = None,
        stride: int = 1,
        reading: Reading | None = None,
    ) -> None:
        self.view = views.whole(view) if isinstance(view, str) else view
        lanes = lanes or _default_lanes(batch_size)
        if batch_size < 1 or batch_size % lanes:
            raise ValueError(f"lanes is {lanes}, not a divisor of the batch size {batch_size}")
        per_chunk = chunk_samples or chunks.chunk_samples(self.view.manifest.samples)
        release_id = self.view.manifest.id
        self._state = State(
            release_id, self.view.id, seed, 0, lanes, batch_size // lanes, window, per_chunk
        )
        self._reading = reading or Reading()
        self._partial_step, self._stride = partial_step, stride
        self._under_way = UnderWay()
        self.damaged: list[Damage] = []
        self._member, self._members = member, dict(members or {member: 1})
        self._threads = Threads(self._reading.threads, "step")
        self._ahead: dict[int, Future[Batch]] = {}
        self._tombstones = Tombstones(self.view.root, self._reading.tombstones)
        if state is None:
            self._open(self._state)
        else:
            self.load_state_dict(state)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        shortest = self._plan.samples // self._plan.lanes
        last = self._plan.longest if self._partial_step else shortest
        per_lane = self._state.per_lane
        return -(-last // per_lane) if self._partial_step else last // per_lane

    @property
    def step(self) -> int:
        """The step that is served next: steps committed in this epoch."""
        return self._state.cursor // self._state.per_lane

    @property
    def epoch(self) -> int:
        """From 0."""
        return self._state.epoch

    @property
    def lanes(self) -> tuple[int, ...]:
        """The lanes that this member serves."""
        return self._lanes

    def read(self) -> Batch:
        """This member's part of the next step: the same, until it is committed.

        Raises EndOfEpoch; StalledRead when it has not come within `stall_s`.
        """
        step = self.step
        if step >= self.steps:
            raise EndOfEpoch(f"epoch {self.epoch} has {self.steps} steps, all committed")
        for number in range(1 + self._reading.ahead):
            later = step + number * self._stride
            if later < self.steps and later not in self._ahead:
                places = self._places(later)
                self._ahead[later] = self._threads.submit(self._fetch, later, places)
        try:
            batch = self._ahead[step].result(timeout=self._reading.stall_s)
        except FutureTimeout:
            raise StalledRead(
                f"step {step} of epoch {self.epoch}: {self._under_way.longest()}"
            ) from None
        except BaseException:
            self._ahead.pop(step, None)  # asked for again, it is tried again
            raise
        return batch

    def commit(self) -> None:
        """The step has been applied by all members: go on to the next."""
        self._ahead.pop(self.step, None)
        self._state = replace(self._state, cursor=self._state.cursor + self._state.per_lane)

    def seek(self, epoch: int, step: int) -> None:
        """Serve this step next, whatever was committed.

        Raises ValueError for a step that the epoch does not have (its number of steps is its end).
        """
        if epoch < 0 or not 0 <= step <= self.steps:
            raise ValueError(f"epoch {epoch}, step {step}: an epoch has {self.steps} steps")
        for early in [number for number in self._ahead if number < step]:
            del self._ahead[early]
        state = replace(self._state, epoch=epoch, cursor=step * self._state.per_lane)
        if epoch == self._state.epoch:
            self._state = state
        else:
            self._open(state)

    def next_epoch(self) -> None:
        """Start the next epoch, in an order of its own."""
        self.seek(self._state.epoch + 1, 0)

    def set_members(self, members: Mapping[str, int], member: str = "") -> None:
        """Who serves the steps from the next one on: between steps, the same for all members.

        member: this member's name from now on, where it has another. Raises ValueError when this
        member is not among them.
        """
        self._member = member or self._member
        if self._member not in members:
            raise ValueError(f"{self._member} is not among the members {sorted(members)}")
        self._members = dict(members)
        self._take_lanes()

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch, each step committed when the next is asked for; then on to the
        next epoch, so that iterating again gives that. `commit` within the loop does no harm."""
        while self.step < self.steps:
            batch = self.read()
            yield batch
            if self.step == batch.step:
                self.commit()
        self.next_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Where the committed steps end. Save it with the model that they made."""
        return self._state.to_json()

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved place, in the saved order, whoever the members were.

        Raises InputError when it is of another release or view, or not a state.
        """
        state = State.from_json(dict(saved))
        refuse_other(state, self._state)
        self._open(state)

    def close(self) -> None:
        """Let go of threads, files and buffers."""
        self._threads.close()
        self._samples.close()

    def _open(self, state: State) -> None:
        old = getattr(self, "_state", None)
        self._state = state
        if not hasattr(self, "_samples") or old is None or old.chunk_samples != state.chunk_samples:
            self._chunks = chunks.cut(self.view.manifest.sizes, state.chunk_samples)
            self._samples = self._opened_samples()
        self._plan = Plan(
            self.view,
            self._chunks,
            seed=state.seed,
            epoch=state.epoch,
            lanes=state.lanes,
            window=state.window,
        )
        self._take_lanes()

    def _take_lanes(self) -> None:
        self._lanes = assign(self._state.lanes, self._members)[self._member]
        self._schedule = Schedule(self._plan, self._lanes, self._state.per_lane)
        self._ahead.clear()

    def _opened_samples(self) -> Samples:
        fs, root = file_system(self.view.root)
        reading, manifest = self._reading, self.view.manifest
        if isinstance(fs, fsspec.implementations.local.LocalFileSystem):
            return LocalSamples(root, manifest, self._under_way)
        cache = DiskCache(reading.cache, reading.cache_bytes) if reading.cache else None
        fetches = Fetches(
            Ranges(fs, root, reading.patience, reading.connections),
            self.view,
            self._chunks,
            self._under_way,
            fetchers=reading.connections,
            cache=cache,
        )
        share = self.view.samples / max(manifest.samples, 1)
        return RemoteSamples(fetches, reading.buffer_bytes, int(manifest.bytes * share))

    def _places(self, step: int) -> Places:
        places = self._schedule.step(step)
        self._samples.want(dict.fromkeys(places.chunk.tolist()))
        return places

    def _fetch(self, step: int, places: Places) -> Batch:
        """Read a step; called on a thread."""
        masked = self._tombstones.keys()
        weight = np.ones(len(places), dtype=np.float32)
        samples = self._samples.read(places)
        # What is rare is looked for in all of them at once.
        if Damage in set(map(type, samples)):
            for number, sample in enumerate(samples):
                if isinstance(sample, Damage):
                    self.damaged.append(sample)
                    samples[number], weight[number] = ("", b"", b"", b""), 0
        keys, jpg, txt, json = _columns(samples)
        if masked and not masked.isdisjoint(keys):
            for number in [n for n, key in enumerate(keys) if key in masked]:
                jpg[number] = txt[number] = json[number] = b""
                weight[number] = 0
        after = replace(self._state, cursor=(step + 1) * self._state.per_lane)
        return Batch(step, keys, jpg, txt, json, weight, places.shard, places.row, after)


def _columns(samples: list[Any]) -> tuple[list[str], list[bytes], list[bytes], list[bytes]]:
    """The `Fields` of samples, field by field."""
    keys, jpg, txt, json = zip(*samples, strict=True) if samples else ((), (), (), ())
    return list(keys), list(jpg), list(txt), list(json)


def _default_lanes(batch_size: int) -> int:
    return max((d for d in range(1, _MANY_LANES + 1) if batch_size % d == 0), default=1)
