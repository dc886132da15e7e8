"""The order of an epoch: a pure function of view, seed, epoch and a few numbers fixed for a run.

Chunks are permuted and laid end to end; the line of their selected samples is cut into lanes of
equal length; within a lane, the samples of a few chunks at a time (a window) are permuted. A global
step takes the next samples of every lane. So what a step holds depends on neither ranks, workers
nor batch sizes, any step is found without those before it, and reading stays by chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.stream import views
from pipeline.stream.chunks import I32, Chunks
from pipeline.stream.permute import derive_key, permutation
from pipeline.stream.views import View

# Positions of each lane that are worked out together.
_BLOCK_POSITIONS = 64


@dataclass(frozen=True)
class Places:
    """Where samples are: shard, row in it, and chunk it is in; int32, of one length."""

    shard: I32
    row: I32
    chunk: I32

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Window:
    """Part of a lane that is shuffled as one: positions start <= i < start + len(places)."""

    start: int
    places: Places

    @property
    def stop(self) -> int:
        return self.start + len(self.places)


class Plan:
    """Every sample of a view once, in `lanes` lanes whose lengths differ by one at most.

    window: chunks shuffled together. Memory: some 20 bytes a chunk. Making it is linear in chunks;
    finding any place of a lane is linear in the chunks of that lane.
    Raises ValueError for fewer than one lane, one chunk a window, or one sample.
    """

    def __init__(
        self, view: View, chunks: Chunks, *, seed: int, epoch: int, lanes: int, window: int
    ) -> None:
        if lanes < 1 or window < 1:
            raise ValueError(f"lanes is {lanes} and window {window}; both must be at least 1")
        self._view, self._chunks, self._window = view, chunks, window
        self._seed, self._epoch, self.lanes = seed, epoch, lanes
        live = view.live(chunks)
        order = permutation(len(chunks), derive_key(seed, epoch, "chunks"))
        if view.bits is not None:
            order = order[live[order] > 0]
        self._order = order.astype(np.int32)
        self._ends = np.cumsum(live[self._order], dtype=np.int64)
        self.samples = int(self._ends[-1]) if len(self._ends) else 0
        if not self.samples:
            raise ValueError("the view selects no sample")
        self._byte_starts = views.byte_starts(view.manifest)

    def lane_length(self, lane: int) -> int:
        """Samples of a lane."""
        return self._edge(lane + 1) - self._edge(lane)

    @property
    def longest(self) -> int:
        """Samples of the longest lane."""
        return -(-self.samples // self.lanes)

    def window_at(self, lane: int, position: int) -> Window:
        """The window that holds a position of a lane. Raises IndexError beyond its ends."""
        first, stop = self._edge(lane), self._edge(lane + 1)
        if not 0 <= position < stop - first:
            raise IndexError(f"position {position} of lane {lane}, which has {stop - first}")
        begin = int(np.searchsorted(self._ends, first, side="right"))
        end = int(np.searchsorted(self._ends, stop, side="left")) + 1
        # Where each chunk's part of the lane ends, from the lane's start.
        ends = np.minimum(self._ends[begin:end], stop) - first
        lead = self._lead(lane)
        number = int(np.searchsorted(ends[lead - 1 :: self._window], position, side="right"))
        low = lead + (number - 1) * self._window if number else 0
        high = min(low + self._window if number else lead, end - begin)
        pieces = [self._piece(begin + i, first, stop) for i in range(low, high)]
        start = int(ends[low - 1]) if low else 0
        places = Places(
            np.concatenate([p.shard for p in pieces]),
            np.concatenate([p.row for p in pieces]),
            np.concatenate([p.chunk for p in pieces]),
        )
        key = derive_key(self._seed, self._epoch, "window", lane, number)
        mixed = permutation(len(places), key)
        return Window(start, Places(places.shard[mixed], places.row[mixed], places.chunk[mixed]))

    def _lead(self, lane: int) -> int:
        """Chunks of a lane's first window: 1 to `window`, in turn, so that the lanes do not all ask
        for their next chunks at one time."""
        return 1 + lane % self._window

    def _edge(self, lane: int) -> int:
        return lane * self.samples // self.lanes

    def _piece(self, place: int, first: int, stop: int) -> Places:
        """The selected samples of the chunk at a place of the order that are between two edges."""
        chunk = int(self._order[place])
        chunks, after = self._chunks, int(self._ends[place])
        shard, count = int(chunks.shard[chunk]), int(chunks.rows[chunk])
        rows = self._view.rows(shard, int(chunks.first[chunk]), count, self._byte_starts)
        before = after - len(rows)
        rows = rows[max(0, first - before) : min(after, stop) - before]
        return Places(
            np.full(len(rows), shard, np.int32), rows, np.full(len(rows), chunk, np.int32)
        )


class Schedule:
    """Which samples some lanes give to each step, worked out for many steps at a time.

    lanes: ascending. per_lane: samples that a step takes of each.
    """

    def __init__(self, plan: Plan, lanes: Sequence[int], per_lane: int) -> None:
        self._plan, self._lanes, self._per_lane = plan, lanes, per_lane
        self._lengths = [plan.lane_length(lane) for lane in lanes]
        self._windows: list[Window | None] = [None] * len(lanes)
        self._span = per_lane * max(1, _BLOCK_POSITIONS // per_lane)
        self._start = -1
        self._block = np.empty((3, 0, 0), dtype=np.int32)

    def step(self, number: int) -> Places:
        """The lanes' samples of a step, lane by lane; at the end of an epoch fewer, then none.

        Steps may be asked for in any order; rising ones are quick.
        """
        position = number * self._per_lane
        start = position - position % self._span
        if start != self._start:
            self._block = self._filled(start)
            self._start = start
        columns = slice(position - start, position - start + self._per_lane)
        shard, row, chunk = self._block[:, :, columns].reshape(3, -1)
        if len(shard) and row.min() < 0:
            there = row >= 0
            shard, row, chunk = shard[there], row[there], chunk[there]
        return Places(shard, row, chunk)

    def _filled(self, start: int) -> npt.NDArray[np.int32]:
        """[shard/row/chunk, lanes, positions] from a position on; -1 beyond a lane's end."""
        block = np.full((3, len(self._lanes), self._span), -1, dtype=np.int32)
        for number, (lane, length) in enumerate(zip(self._lanes, self._lengths, strict=True)):
            at, stop = start, min(start + self._span, length)
            while at < stop:
                window = self._window(number, lane, at)
                upto = min(stop, window.stop)
                places = window.places
                taken = slice(at - window.start, upto - window.start)
                into = block[:, number, at - start : upto - start]
                into[0], into[1] = places.shard[taken], places.row[taken]
                into[2] = places.chunk[taken]
                at = upto
        return block

    def _window(self, number: int, lane: int, position: int) -> Window:
        held = self._windows[number]
        if held is None or not held.start <= position < held.stop:
            held = self._windows[number] = self._plan.window_at(lane, position)
        return held
