"""Size of the received file."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class ImageBytes(Filter):
    """Bytes of the file as received, at least `min_bytes`.

    Smaller files are spacers, icons and error pictures.

    Source: COYO-700M, README, and LAION-5B (arXiv 2210.08402): pictures under 5 KB are dropped;
    neither says which kilobyte, so the smaller one is taken.
    """

    min_bytes: int = 5000

    reads = ("body_bytes",)
    bound_settings = ("min_bytes",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("body_bytes", low=self.min_bytes),)
