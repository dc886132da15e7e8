"""What the models and pixel scorers make of the pictures that lack something."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.raw import Place
from pipeline.core.storage import Store
from pipeline.score.batches import Pending
from pipeline.score.inputs import Mask, Track
from pipeline.score.looker_processes import shared
from pipeline.score.looks import InThreads, Looker, Looking, Numbers
from pipeline.score.models import Spec, load
from pipeline.score.pictures import DecodedBatch, Embedder, Stored, decoded_batches
from pipeline.score.scorers import Scorers

_PLACE = ("raw_round", "raw_offset", "raw_bytes")


@dataclass(frozen=True)
class Job:
    """How parts are embedded. Picklable.

    store: the run, in whose raw tars the pictures lie. specs: the models; their precision is not
    "auto". batch: pictures or captions at a time. threads: of the models. decoders: threads that
    decode, or processes with `is_apart`. device: "cpu", "cuda:0".
    """

    store: Store
    specs: tuple[Spec, ...]
    scorers: Scorers
    batch: int
    threads: int
    decoders: int
    device: str = "auto"
    is_apart: bool = False

    @property
    def tracks(self) -> list[Track]:
        """What there is of a picture."""
        return [Track(spec.name, kind) for spec in self.specs for kind in spec.kinds]


class Batch(NamedTuple):
    """vectors: what each track got, content_ids and float32 [n, width]. numbers: of the pixel
    scorers, by content_id. unreadable: the pictures that do not decode."""

    vectors: dict[Track, tuple[list[bytes], NDArray[np.float32]]]
    numbers: dict[bytes, Numbers]
    unreadable: list[bytes]


class Todo:
    """What is to be made of a part's pictures.

    rows: of INPUTS. missing: which of them lack the vectors of a track; unmeasured: which of them
    lack the numbers of pixel scorers.
    """

    def __init__(
        self, job: Job, part: int, rows: pa.Table, missing: Mapping[Track, Mask], unmeasured: Mask
    ) -> None:
        self._part, self._rows, self._unmeasured = part, rows, unmeasured
        self._missing = missing
        self.specs = [
            spec
            for spec in job.specs
            if any(missing[Track(spec.name, k)].any() for k in spec.kinds)
        ]
        self._lacks = [
            np.logical_or.reduce([missing[Track(spec.name, kind)] for kind in spec.kinds])
            for spec in self.specs
        ]
        self._needed = np.logical_or.reduce([*self._lacks, unmeasured])

    def batches(self, window: slice, size: int) -> list[list[Stored]]:
        """The pictures of a window of rows that have to be decoded, `size` at a time."""
        chosen = np.flatnonzero(self._needed[window]) + window.start
        rows = self._rows.select(["content_id", "image_id", *_PLACE]).take(pa.array(chosen))
        found = []
        for i, row in zip(chosen.tolist(), rows.to_pylist(), strict=True):
            place = Place(row["image_id"], self._part, *(row[name] for name in _PLACE))
            models = tuple(n for n, lacks in enumerate(self._lacks) if lacks[i])
            found.append(Stored(row["content_id"], place, models, bool(self._unmeasured[i])))
        return [found[i : i + size] for i in range(0, len(found), size)]

    def lacking(self) -> dict[Track, set[bytes]]:
        """The pictures that lack the vectors of each track."""
        ids = self._rows.column("content_id")
        return {t: set(ids.filter(pa.array(m)).to_pylist()) for t, m in self._missing.items()}


def made(job: Job, todo: Todo, batches: Sequence[list[Stored]]) -> Iterator[Batch]:
    """What is found in each batch; each picture is read and decoded once for all.

    Reading, decoding and the models overlap: a batch is waited for when the next one is started.
    Raises InputError when the part's tar or weights are missing.
    """
    if not batches:
        return
    models: list[Embedder] = [load(spec, job.device, job.threads) for spec in todo.specs]
    looker = Looker(tuple(model.shape for model in models), job.scorers)
    sides = [model.shape.side for model in models]
    with _looking(job, looker) as looking:
        yield from _embedded(job, todo, models, decoded_batches(sides, job.store, batches, looking))


@contextmanager
def _looking(job: Job, looker: Looker) -> Iterator[Looking]:
    if job.is_apart:
        yield shared(looker, job.decoders)
        return
    threads = InThreads(looker, job.decoders)
    try:
        yield threads
    finally:
        threads.close()


def _embedded(
    job: Job, todo: Todo, models: Sequence[Embedder], batches: Iterable[DecodedBatch]
) -> Iterator[Batch]:
    lacking = todo.lacking()
    started: deque[_Started] = deque()
    for decoded in batches:
        vectors: dict[Track, tuple[list[bytes], Pending]] = {}
        for spec, model, seen in zip(todo.specs, models, decoded.seen, strict=True):
            for kind in spec.kinds:
                track = Track(spec.name, kind)
                rows = [i for i, content_id in enumerate(seen.ids) if content_id in lacking[track]]
                pixels = seen.pixels if len(rows) == len(seen.ids) else seen.pixels[rows]
                if kind == "flipped":
                    pixels = np.ascontiguousarray(pixels[:, :, ::-1])
                found = model.start_images(pixels, job.batch)
                vectors[track] = ([seen.ids[i] for i in rows], found)
        started.append(_Started(vectors, decoded.numbers, decoded.unreadable))
        if len(started) > 1:
            yield started.popleft().wait()
    while started:
        yield started.popleft().wait()


class _Started(NamedTuple):
    """A batch whose vectors a GPU may still be computing."""

    vectors: dict[Track, tuple[list[bytes], Pending]]
    numbers: dict[bytes, Numbers]
    unreadable: list[bytes]

    def wait(self) -> Batch:
        found = {track: (ids, wait()) for track, (ids, wait) in self.vectors.items()}
        return Batch(found, self.numbers, self.unreadable)
