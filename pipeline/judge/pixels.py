"""Pictures as a model sees them, decoded on threads and kept while memory for that lasts."""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.score.shape import Pixels, Shape


class Decoder:
    """Decodes JPEG, PNG and whatever Pillow reads. Picklable, without what it keeps.

    keep_bytes: of decoded pictures, by name; once they are full no further ones are kept.
    """

    def __init__(self, shape: Shape, keep_bytes: int = 0, threads: int = 1) -> None:
        self.shape = shape
        self._threads = threads
        self._room = keep_bytes // (3 * shape.side**2)
        self._kept: dict[str, Pixels] = {}

    def __reduce__(self) -> tuple[type["Decoder"], tuple[Shape, int, int]]:
        return Decoder, (self.shape, self._room * 3 * self.shape.side**2, self._threads)

    def batch(self, names: Sequence[str], bodies: Iterable[bytes]) -> Pixels:
        """uint8 [n, side, side, 3], of n encoded pictures. One without bytes is black.

        Raises InputError, naming it, for one that does not decode.
        """
        out = np.zeros((len(names), self.shape.side, self.shape.side, 3), np.uint8)
        todo = []
        for row, (name, body) in enumerate(zip(names, bodies, strict=True)):
            kept = self._kept.get(name)
            if kept is not None:
                out[row] = kept
            elif body:
                todo.append((row, name, body))
        if self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                found = list(pool.map(lambda one: self._decoded(one[1], one[2]), todo))
        else:
            found = [self._decoded(name, body) for _, name, body in todo]
        for (row, name, _), pixels in zip(todo, found, strict=True):
            out[row] = pixels
            if len(self._kept) < self._room:
                self._kept[name] = pixels
        return out

    def _decoded(self, name: str, body: bytes) -> Pixels:
        try:
            with Image.open(io.BytesIO(body)) as image:
                return np.ascontiguousarray(self.shape.pixels(image.convert("RGB")))
        except Exception as error:  # noqa: BLE001 - a foreign file can fail in any way
            raise InputError(f"{name}: no picture that can be read: {error}") from None
