"""Size of the received file."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class ImageBytes(Filter):
    """Bytes of the file as received, within [min_bytes, max_bytes].

    Smaller files are spacers, icons and error pictures. `max_bytes` is open unless set.

    Source: COYO-700M, README, and LAION-5B (arXiv 2210.08402): pictures under 5 KB are dropped;
    neither says which kilobyte, so the smaller one is taken. data-juicer's image_size_filter has
    an upper end too, at 1 TB by default.
    """

    min_bytes: int = 5000
    max_bytes: int | None = None

    reads = ("body_bytes",)
    bound_settings = ("min_bytes", "max_bytes")

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("body_bytes", self.min_bytes, self.max_bytes),)
