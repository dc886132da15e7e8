"""Stored pictures as model input: read in the background, decoded in a few threads."""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline.core.raw import Place, read
from pipeline.core.storage import Store
from pipeline.score.clip import Clip

Stored = tuple[bytes, Place]  # content id, and where it lies
_BATCHES_AHEAD = 2


def decode(clip: Clip, data: bytes) -> NDArray[np.uint8] | None:
    """What the model sees of an encoded picture, or None when the bytes do not decode."""
    from PIL import Image  # here, so that a job that only plans starts without it

    try:
        with Image.open(io.BytesIO(data)) as image:
            return clip.pixels(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None


def decoded_batches(
    clip: Clip, store: Store, batches: Iterable[list[Stored]], threads: int
) -> Iterator[tuple[list[bytes], NDArray[np.uint8], int]]:
    """For each batch: ids and pixels [n, side, side, 3] of what decodes, and how many do not.

    Order is kept. The next batches are read and decoded while the caller computes on one.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(threads) as decoders:

        def start(batch: list[Stored]) -> list[tuple[bytes, Future[NDArray[np.uint8] | None]]]:
            bodies = read(store, [place for _, place in batch])
            return [
                (content_id, decoders.submit(decode, clip, body))
                for (content_id, _), body in zip(batch, bodies, strict=True)
            ]

        ahead: deque[Future[list[tuple[bytes, Future[NDArray[np.uint8] | None]]]]] = deque()
        for batch in batches:
            ahead.append(reader.submit(start, batch))
            if len(ahead) > _BATCHES_AHEAD:
                yield _collect(clip, ahead.popleft().result())
        while ahead:
            yield _collect(clip, ahead.popleft().result())


def _collect(
    clip: Clip, started: list[tuple[bytes, Future[NDArray[np.uint8] | None]]]
) -> tuple[list[bytes], NDArray[np.uint8], int]:
    done = [(content_id, future.result()) for content_id, future in started]
    whole = [(content_id, pixels) for content_id, pixels in done if pixels is not None]
    side = clip.image_side
    pixels = np.empty((len(whole), side, side, 3), np.uint8)
    for i, (_, picture) in enumerate(whole):
        pixels[i] = picture
    return [content_id for content_id, _ in whole], pixels, len(done) - len(whole)
