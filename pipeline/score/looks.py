"""A stored picture as models and pixel scorers see it; decoded in threads, or in processes.

Threads do on a processor, where the models take nearly all of the time. Beside a GPU they hold each
other up, and the model's start of each of its steps too, since only one of them runs Python.
"""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.score.scorers import ScorePixels, Scorers
from pipeline.score.shape import Pixels, Shape

Numbers = Sequence[float | int | None]


class Asked(NamedTuple):
    """An encoded picture. models: which of them want it, by number. is_measured: whether the pixel
    scorers do."""

    body: bytes
    models: tuple[int, ...] = (0,)
    is_measured: bool = False


class Looked(NamedTuple):
    """A decoded picture. pixels: what each model sees that wanted it, uint8 [side, side, 3].
    numbers: of the pixel scorers; None where it is not measured."""

    pixels: list[Pixels]
    numbers: Numbers | None


@dataclass(frozen=True)
class Looker:
    """What is made of each picture. Picklable. shapes: of the models, by number."""

    shapes: tuple[Shape, ...]
    scorers: Scorers = field(default_factory=Scorers)

    def __call__(self, asked: Asked) -> Looked | None:
        """None when the picture does not decode. Thread-safe."""
        from PIL import Image  # here, so that a job that only plans starts without it

        try:
            with Image.open(io.BytesIO(asked.body)) as opened:
                image = opened.convert("RGB")
                pixels = [self.shapes[i].pixels(image) for i in asked.models]
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            return None
        score = self._score if asked.is_measured else None
        return Looked(pixels, score(np.asarray(image)) if score else None)

    @cached_property
    def _score(self) -> ScorePixels | None:
        """All pixel scorers as one; None without any."""
        if not self.scorers.pixels:
            return None
        loaded = [(scorer, scorer.load()) for scorer in self.scorers.pixels]

        def score(pixels: Pixels) -> Numbers:
            numbers: list[float | int | None] = []
            for scorer, find in loaded:
                found = find(pixels)
                if len(found) != len(scorer.fields):
                    names = ", ".join(field.name for field in scorer.fields)
                    raise ValueError(f"a pixel scorer gave {len(found)} numbers for {names}")
                numbers += found
            return numbers

        return score


class Looking(Protocol):
    """Where pictures are decoded."""

    def start(self, batch: Sequence[Asked]) -> Callable[[], list[Looked | None]]:
        """Start on some pictures; what it returns waits for them, in their order."""


class InThreads:
    """Decoding in threads of this process; to be closed."""

    def __init__(self, looker: Looker, threads: int) -> None:
        self._look = looker
        self._threads = ThreadPoolExecutor(threads, "decode")

    def start(self, batch: Sequence[Asked]) -> Callable[[], list[Looked | None]]:
        """As `Looking.start`."""
        looks: list[Future[Looked | None]] = [self._threads.submit(self._look, a) for a in batch]
        return lambda: [look.result() for look in looks]

    def close(self) -> None:
        """Wait for what was started, and end the threads."""
        self._threads.shutdown()
