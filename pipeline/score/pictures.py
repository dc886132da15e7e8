"""Stored pictures as model input: read in the background, decoded once for all models."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.core.raw import Place, read
from pipeline.core.storage import Store
from pipeline.score.batches import Pending
from pipeline.score.looks import Asked, Looked, Looking, Numbers
from pipeline.score.shape import Pixels, Shape

_BATCHES_AHEAD = 2


class Embedder(Protocol):
    """A model of pictures: `clip.Clip`, `descriptor.Descriptor`."""

    @property
    def shape(self) -> Shape:
        """What it sees of a picture."""

    def start_images(self, pixels: Pixels, batch: int = 64) -> Pending:
        """Start on uint8 pixels [n, side, side, 3]; what it returns waits for their unit vectors,
        float32 [n, width]."""


class Stored(NamedTuple):
    """A picture to decode. models: which of the models want it, by number. is_measured: whether
    the pixel scorers do."""

    content_id: bytes
    place: Place
    models: tuple[int, ...] = (0,)
    is_measured: bool = False


class Decoded(NamedTuple):
    """What one model gets of a batch. pixels: uint8 [n, side, side, 3]."""

    ids: list[bytes]
    pixels: Pixels


class DecodedBatch(NamedTuple):
    """A batch of pictures. seen: what each model gets. numbers: of the pixel scorers, by
    content_id. unreadable: the pictures that do not decode."""

    seen: list[Decoded]
    numbers: dict[bytes, Numbers]
    unreadable: list[bytes]


def decoded_batches(
    sides: Sequence[int], store: Store, batches: Iterable[list[Stored]], looking: Looking
) -> Iterator[DecodedBatch]:
    """Batches of pictures as the models get them, each picture decoded once for all of them.

    sides: of the models' inputs. Order is kept. The next batches are read and decoded while the
    caller computes on one.
    """
    with ThreadPoolExecutor(1) as reader:

        def start(batch: list[Stored]) -> Callable[[], DecodedBatch]:
            bodies = read(store, [stored.place for stored in batch])
            finish = looking.start(
                [Asked(b, s.models, s.is_measured) for s, b in zip(batch, bodies, strict=True)]
            )
            return lambda: _collect(sides, batch, finish())

        ahead: deque[Future[Callable[[], DecodedBatch]]] = deque()
        for batch in batches:
            ahead.append(reader.submit(start, batch))
            if len(ahead) > _BATCHES_AHEAD:
                yield ahead.popleft().result()()
        while ahead:
            yield ahead.popleft().result()()


def _collect(
    sides: Sequence[int], batch: list[Stored], looks: Sequence[Looked | None]
) -> DecodedBatch:
    wanted: list[list[tuple[bytes, Pixels]]] = [[] for _ in sides]
    numbers: dict[bytes, Numbers] = {}
    unreadable = []
    for stored, looked in zip(batch, looks, strict=True):
        if looked is None:
            unreadable.append(stored.content_id)
            continue
        for number, pixels in zip(stored.models, looked.pixels, strict=True):
            wanted[number].append((stored.content_id, pixels))
        if looked.numbers is not None:
            numbers[stored.content_id] = looked.numbers
    seen = []
    for side, chosen in zip(sides, wanted, strict=True):
        together = np.empty((len(chosen), side, side, 3), np.uint8)
        for row, (_, pixels) in enumerate(chosen):
            together[row] = pixels
        seen.append(Decoded([content_id for content_id, _ in chosen], together))
    return DecodedBatch(seen, numbers, unreadable)
