"""Stored pictures as model input: read in the background, decoded once in a few threads."""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.raw import Place, read
from pipeline.core.storage import Store
from pipeline.score.batches import Pending
from pipeline.score.scorers import ScorePixels

Pixels = NDArray[np.uint8]
Numbers = Sequence[float | int | None]
_BATCHES_AHEAD = 2


class Embedder(Protocol):
    """A model of pictures: `clip.Clip`, `descriptor.Descriptor`."""

    @property
    def image_side(self) -> int:
        """Pixels a side of its square input."""

    def pixels(self, image: Any) -> Pixels:
        """What it sees of a Pillow image: uint8 [image_side, image_side, 3]. Thread-safe."""

    def start_images(self, pixels: Pixels, batch: int = 64) -> Pending:
        """Start on uint8 pixels [n, image_side, image_side, 3]; what it returns waits for their
        unit vectors, float32 [n, width]."""


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


class Looked(NamedTuple):
    """A decoded picture: what each model sees of it, and the numbers of the pixel scorers."""

    pixels: list[Pixels]
    numbers: Numbers | None


def decode(
    models: Sequence[Embedder], data: bytes, scorer: ScorePixels | None = None
) -> Looked | None:
    """What models and pixel scorers find in an encoded picture; None when it does not decode."""
    from PIL import Image  # here, so that a job that only plans starts without it

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
            pixels = [model.pixels(image) for model in models]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    return Looked(pixels, scorer(np.asarray(image)) if scorer else None)


class _Started(NamedTuple):
    stored: list[Stored]
    looks: list[Future[Looked | None]]


def decoded_batches(
    models: Sequence[Embedder],
    store: Store,
    batches: Iterable[list[Stored]],
    threads: int,
    scorer: ScorePixels | None = None,
) -> Iterator[DecodedBatch]:
    """Batches of pictures as the models get them, each picture decoded once for all of them.

    Order is kept. The next batches are read and decoded while the caller computes on one.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(threads) as decoders:

        def start(batch: list[Stored]) -> _Started:
            bodies = read(store, [stored.place for stored in batch])
            looks = [
                decoders.submit(
                    decode,
                    [models[i] for i in stored.models],
                    body,
                    scorer if stored.is_measured else None,
                )
                for stored, body in zip(batch, bodies, strict=True)
            ]
            return _Started(batch, looks)

        ahead: deque[Future[_Started]] = deque()
        for batch in batches:
            ahead.append(reader.submit(start, batch))
            if len(ahead) > _BATCHES_AHEAD:
                yield _collect(models, ahead.popleft().result())
        while ahead:
            yield _collect(models, ahead.popleft().result())


def _collect(models: Sequence[Embedder], started: _Started) -> DecodedBatch:
    wanted: list[list[tuple[bytes, Pixels]]] = [[] for _ in models]
    numbers: dict[bytes, Numbers] = {}
    unreadable = []
    for stored, future in zip(started.stored, started.looks, strict=True):
        looked = future.result()
        if looked is None:
            unreadable.append(stored.content_id)
            continue
        for number, pixels in zip(stored.models, looked.pixels, strict=True):
            wanted[number].append((stored.content_id, pixels))
        if looked.numbers is not None:
            numbers[stored.content_id] = looked.numbers
    seen = []
    for model, chosen in zip(models, wanted, strict=True):
        side = model.image_side
        batch = np.empty((len(chosen), side, side, 3), np.uint8)
        for row, (_, pixels) in enumerate(chosen):
            batch[row] = pixels
        seen.append(Decoded([content_id for content_id, _ in chosen], batch))
    return DecodedBatch(seen, numbers, unreadable)
