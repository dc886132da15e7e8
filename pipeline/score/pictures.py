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

Pixels = NDArray[np.uint8]
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
    """A picture to decode. models: how many of the models, from the first on, want it."""

    content_id: bytes
    place: Place
    models: int = 1


class Decoded(NamedTuple):
    """What one model gets of a batch. pixels: uint8 [n, side, side, 3]."""

    ids: list[bytes]
    pixels: Pixels


def decode(models: Sequence[Embedder], data: bytes) -> list[Pixels] | None:
    """What each model sees of an encoded picture, or None when the bytes do not decode."""
    from PIL import Image  # here, so that a job that only plans starts without it

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
            return [model.pixels(image) for model in models]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None


_Started = list[tuple[bytes, Future[list[Pixels] | None]]]


def decoded_batches(
    models: Sequence[Embedder], store: Store, batches: Iterable[list[Stored]], threads: int
) -> Iterator[tuple[list[Decoded], int]]:
    """For each batch: what each model gets of it, and how many pictures do not decode.

    Order is kept. The next batches are read and decoded while the caller computes on one.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(threads) as decoders:

        def start(batch: list[Stored]) -> _Started:
            bodies = read(store, [stored.place for stored in batch])
            return [
                (stored.content_id, decoders.submit(decode, models[: stored.models], body))
                for stored, body in zip(batch, bodies, strict=True)
            ]

        ahead: deque[Future[_Started]] = deque()
        for batch in batches:
            ahead.append(reader.submit(start, batch))
            if len(ahead) > _BATCHES_AHEAD:
                yield _collect(models, ahead.popleft().result())
        while ahead:
            yield _collect(models, ahead.popleft().result())


def _collect(models: Sequence[Embedder], started: _Started) -> tuple[list[Decoded], int]:
    done = [(content_id, future.result()) for content_id, future in started]
    whole = [(content_id, seen) for content_id, seen in done if seen is not None]
    found = []
    for i, model in enumerate(models):
        wanted = [(content_id, seen[i]) for content_id, seen in whole if len(seen) > i]
        side = model.image_side
        pixels = np.empty((len(wanted), side, side, 3), np.uint8)
        for row, (_, picture) in enumerate(wanted):
            pixels[row] = picture
        found.append(Decoded([content_id for content_id, _ in wanted], pixels))
    return found, len(done) - len(whole)
