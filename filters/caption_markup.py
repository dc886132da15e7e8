"""Captions with remains of HTML, templates or programs."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_PATTERNS = (
    # Tags and comments. A letter must follow, so that "a < b" and "<3" are none.
    r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|<!--|(?:^|[^-])-->|<(?:a|img|div|span|p|br|iframe|script)\s",
    # Character references that were escaped twice.
    r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|(?:amp|quot|apos|lt|gt|nbsp|copy|reg|trade|[lr][sd]quo|[nm]dash|"
    r"hellip|eacute|egrave|agrave|uuml|ouml|auml|szlig));",
    # Attributes.
    r"\b(?:src|href|alt|class|style|title|width|height|id|data-[a-z-]+|on[a-z]+) ?= ?[\"'“”]",
    # Shortcodes of WordPress and codes of forums.
    r"\[/?(?:caption|gallery|img|url|embed|video|audio|quote|code|size|color|center|vc_\w+|et_pb_\w+|"
    r"youtube|shortcode|nggallery|contact-form[\w-]*)\b[^\]]*\]",
    # Fields of templates that nothing was filled in for.
    r"\{\{[^{}]*\}\}|\{%[^%]*%\}|<%|%>|\$\{[^{}]*\}|%%?[A-Z][A-Z0-9]*_[A-Z0-9_]+%%?|\{[a-z]+[._][a-z._]+\}",
    r"(?:^|[^\w%])%(?:\d\$)?[sd]\b",
    # Style sheets and scripts.
    r"\{[^{}]*:[^{}]*;[^{}]*\}|!important\b|\bfunction ?\([\w, ]*\) ?\{|=> ?\{|\bvar \w+ ?= |"
    r"\[object Object\]|&&|\$\(",
    # Escapes of JSON, of programs and of URLs.
    r"\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\[nrt]\b|\\[\"'/]|(?:%[0-9a-f]{2}){2}",
)
_ANY = "(?i)" + "|".join(_PATTERNS)
_PAIRS = "()[]{}<>（）［］｛｝〈〉《》「」『』【】〔〕〖〗“”«»"


@dataclass(frozen=True)
class CaptionMarkup(Filter):
    """Whether the caption has remains of HTML, templates or programs; and brackets that are not
    matched, at most `max_unmatched_brackets` (off unless set).

    "<b>Dog</b>", "Tom &amp;amp; Jerry", "[caption id=1]", "{{ product.title }}", "%PRODUCT_NAME%",
    "\\u00e9". They hold for captions of every language, as code is written in none. Brackets are
    those of Unicode's pairs that captions use, with the quotation marks that open and close; the
    signs for less and greater count as well.

    Source: data-juicer, clean_html_mapper, for tags and character references; WordPress's shortcode
    syntax; the delimiters of Jinja, Mustache, ERB and printf. C4 (arXiv 1910.10683), section 2.2,
    drops texts with a curly bracket, as code. The bound on brackets has no source.
    """

    max_unmatched_brackets: int | None = None

    reads = ("caption",)
    measures = (
        column("has_markup", pa.int8(), "1: remains of HTML, a template or a program"),
        column("caption_unmatched_brackets", pa.int32(), "brackets without a partner"),
    )
    bound_settings = ("max_unmatched_brackets",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.caption_kernels import unmatched_brackets

        text = Codepoints.of(batch.column("caption"))
        found = np.zeros(text.rows, np.int8)
        may_be = text.count(CharClass.MARKUP) > 0
        asked = batch.column("caption").filter(pa.array(may_be))
        found[may_be] = pc.match_substring_regex(asked, _ANY).to_numpy(zero_copy_only=False)
        unmatched = np.empty(text.rows, np.int32)
        unmatched_brackets(text.values, text.ends, _partners(), unmatched)
        return [pa.array(found), pa.array(unmatched)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("has_markup", high=0)]
        if self.max_unmatched_brackets is not None:
            bounds.append(Bound("caption_unmatched_brackets", high=self.max_unmatched_brackets))
        return tuple(bounds)


@cache
def _partners() -> npt.NDArray[np.uint32]:
    """Of a closing bracket its opening one, of an opening one itself, else 0: uint32 [0x10000]."""
    table = np.zeros(0x10000, np.uint32)
    for opening, closing in zip(_PAIRS[::2], _PAIRS[1::2], strict=True):
        table[[ord(opening), ord(closing)]] = ord(opening)
    return table
