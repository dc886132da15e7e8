"""Formats of the received files."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

# Formats that `download.formats` can take.
_KNOWN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@dataclass(frozen=True)
class ImageFormat(Filter):
    """Whether the file, by its content, is of one of the `formats`.

    Photographs are published in few formats; GIFs and BMPs of the web are mostly buttons, drawings
    and animations. `download.formats` refuses files before they are decoded; this can be changed
    without a download.

    Source: OBELICS (arXiv 2306.16527) keeps JPEG, PNG and WebP; Conceptual Captions (Sharma et al.
    2018) and Conceptual 12M (arXiv 2102.08981) keep JPEG alone.
    """

    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP")

    reads = ("format",)
    measures = (column("is_format_allowed", pa.int8(), "1: the format is one of those wanted"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.formats if name not in _KNOWN]
        if unknown or not self.formats:
            raise ValueError(f"formats = {list(self.formats)}: allowed: {', '.join(_KNOWN)}")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [pc.is_in(batch.column("format"), pa.array(self.formats)).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_format_allowed", low=1),)
