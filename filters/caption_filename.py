"""Captions that are a file name, a camera's numbering or an address."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

# A name that ends as an image file's does: 'photo-1.jpg', 'final version (2).png'. Longer texts are
# sentences about files.
_ENDING = r"(?i)[^\s.]\.(?:jpe?g|jfif|png|gif|webp|avif|bmp|tiff?|svg|heic|ico)(?:\?\S*)?\s*$"
_MOST_CHARS = 256
_PATTERNS = (
    # A camera's or a phone's: IMG_1234, DSC01234, P1010001, 20210304_101112, PXL_..., KakaoTalk_...
    r"(?:img|dsc[nf]?|dscf|p|pict|imag|gopr|dji|pxl|mvimg|kakaotalk|screenshot|스크린샷|wp)"
    r"[-_ ]?\d[-_ \d]{2,}\w{0,4}",
    r"\d{8}[-_]\d{4,6}\w{0,4}",
    # A page builder's: image001, picture-12, untitled-3, unnamed (1), 제목 없음-1.
    r"(?:image|picture|photo|pic|untitled|unnamed|noname|제목 ?없음|무제)[-_ ]?\(?\d*\)?",
    # A digest or an id.
    r"[0-9a-f]{16,}",
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    # An address, and nothing else.
    r"(?:https?:)?//\S+",
    r"www\.\S+",
)
_WHOLE = r"(?i)^\s*(?:" + "|".join(_PATTERNS) + r")\s*$"


@dataclass(frozen=True)
class CaptionFilename(Filter):
    """Whether the whole caption is a file name, a camera's numbering, a digest or an address.

    Content systems fill an empty alt text with such names. A caption that only contains one is
    left alone.

    Source: JEITA CP-3461 (DCF) for cameras' names, four free characters and a number; RFC 9562
    for UUIDs; RFC 3986 for addresses; IANA's image media types for the endings.
    """

    reads = ("caption",)
    measures = (column("is_filename_like", pa.int8(), "1: a name of a file, not a description"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        captions = pc.fill_null(batch.column("caption"), "")
        # Two searches, as one that is bound to the end reads backwards from there alone.
        is_file = pc.and_(
            pc.match_substring_regex(captions, _ENDING),
            pc.less_equal(pc.utf8_length(captions), _MOST_CHARS),
        )
        return [pc.or_(is_file, pc.match_substring_regex(captions, _WHOLE)).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_filename_like", high=0),)
