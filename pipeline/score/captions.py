"""One part's captions as embeddings: what was embedded before is read, the rest made."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from pipeline.core.rows import RowReader
from pipeline.score.clip import Tokens
from pipeline.score.embed import Window, in_order
from pipeline.score.fresh import Job
from pipeline.score.inputs import Held, Mask, Track
from pipeline.score.models import load

_WINDOW = 4096  # rows; sorted by length together, so that batches hold little padding


class _Ready(NamedTuple):
    """What a model is to make of a window. tokens: of the captions with these content_ids; None
    without any."""

    track: Track
    model: Any
    ids: list[bytes]
    tokens: Tokens | None


class Captions:
    """The captions among INPUTS rows of a part, which must be sorted by content_id; a context.

    Beside a GPU their tokens are made in a thread from its beginning on: embed the pictures first.
    Raises InputError when weights are missing, and while it is iterated when what was embedded
    before is not where it was.
    """

    def __init__(self, job: Job, rows: pa.Table) -> None:
        self._job, self._rows, self._held = job, rows, Held(rows)
        self._tracks = [Track(spec.name, "text") for spec in job.specs if spec.captions]
        self._lacking: dict[Track, Mask] = {t: ~self._held.has(t) for t in self._tracks}
        self._models: dict[str, Any] = {
            spec.name: load(spec, job.device, job.threads)
            for spec in job.specs
            if spec.captions and self._lacking[Track(spec.name, "text")].any()
        }
        ends = range(_WINDOW, len(rows) + _WINDOW, _WINDOW)
        self._windows = [slice(end - _WINDOW, min(end, len(rows))) for end in ends]
        self._thread = ThreadPoolExecutor(1, "tokens") if job.is_apart else None
        self._ahead: dict[int, Future[list[_Ready]]] = {}

    def __enter__(self) -> Self:
        if self._thread is not None:
            submit = self._thread.submit
            self._ahead = {w.start: submit(self._ready, w) for w in self._windows}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Window]:
        started: deque[Callable[[], Window]] = deque()
        with RowReader() as reader:
            for window in self._windows:
                ahead = self._ahead.pop(window.start, None)
                ready = self._ready(window) if ahead is None else ahead.result()
                started.append(self._start(reader, window, ready))
                if len(started) > 1:
                    yield started.popleft()()
            while started:
                yield started.popleft()()

    def _ready(self, window: slice) -> list[_Ready]:
        inside = self._inside(window)
        found = []
        for track in self._tracks:
            lacking = self._rows.filter(pa.array(inside & self._lacking[track]))
            texts, ids = (lacking.column(n).to_pylist() for n in ("caption", "content_id"))
            model: Any = self._models.get(track.model)
            found.append(_Ready(track, model, ids, model.tokens(texts) if ids else None))
        return found

    def _start(self, reader: RowReader, window: slice, ready: list[_Ready]) -> Callable[[], Window]:
        """Start the models; what this returns waits for them."""
        inside = self._inside(window)
        before = [
            self._held.take(reader, r.track, inside & ~self._lacking[r.track], ["vector"])
            for r in ready
        ]
        pending = [
            None if r.tokens is None else (r.ids, r.model.start_tokens(r.tokens, self._job.batch))
            for r in ready
        ]

        def finish() -> Window:
            made = [[] if each is None else [(each[0], each[1]())] for each in pending]
            tables = [
                in_order(r.track, old, new) for r, old, new in zip(ready, before, made, strict=True)
            ]
            held = sum(len(old) for old in before)
            new = sum(len(table) for table in tables) - held
            return Window(tables, None, window.stop - window.start, 0, new, held)

        return finish

    def _inside(self, window: slice) -> Mask:
        inside = np.zeros(len(self._rows), np.bool_)
        inside[window] = True
        return inside


def embed_captions(job: Job, rows: pa.Table) -> Iterator[Window]:
    """The windows of `Captions`."""
    with Captions(job, rows) as captions:
        yield from captions
