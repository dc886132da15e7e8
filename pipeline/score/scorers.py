"""What is found of each picture beside its similarity: the table `picture_scores`.

A *head* works on stored embeddings, and needs no picture. A *pixel scorer* works on the decoded
picture, in the threads that decode it. Both are given as settings, which travel to the workers and
are loaded there once for each process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Pixels = NDArray[np.uint8]
ScoreVectors = Callable[[Vectors], list[pa.Array]]
ScorePixels = Callable[[Pixels], Sequence[float | int | None]]


class Head(Protocol):
    """A network on embeddings. Picklable and frozen."""

    @property
    def model(self) -> str:
        """Whose embeddings of pictures it reads: "clip", or a name of `[score.models]`."""

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns it gives."""

    def check(self) -> object:
        """What its numbers depend on, JSON-ready: a digest of its weights, not their path. On the
        driver, before anything is written; InputError, which names key and source, without them."""

    def load(self) -> ScoreVectors:
        """Of unit vectors, float32 [n, width], one array [n] for each field. On a worker."""


class PixelScorer(Protocol):
    """A measure of a picture's pixels. Picklable and frozen."""

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns it gives."""

    def check(self) -> object:
        """What its numbers depend on, JSON-ready, as `Head.check`."""

    def load(self) -> ScorePixels:
        """Of a picture as it is stored, uint8 [height, width, 3], RGB, one number for each field.
        On a worker; what it gives is called from several threads at once."""


@dataclass(frozen=True)
class Scorers:
    """All scorers of a recipe."""

    heads: tuple[Head, ...] = ()
    pixels: tuple[PixelScorer, ...] = ()

    @property
    def pixel_fields(self) -> tuple[pa.Field, ...]:
        """The columns of pixel scorers, in their order."""
        return tuple(field for scorer in self.pixels for field in scorer.fields)

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns of `picture_scores` beside its key: those of pixel scorers come first."""
        return (*self.pixel_fields, *(field for head in self.heads for field in head.fields))

    def check(self) -> dict[str, Any]:
        """What each depends on, by its columns; {} without scorers. Raises as theirs do."""
        every: tuple[Head | PixelScorer, ...] = (*self.pixels, *self.heads)
        return {"+".join(f.name for f in scorer.fields): scorer.check() for scorer in every}
