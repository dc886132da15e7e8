"""Captions of web addresses."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core import word_lists
from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column
from pipeline.core.tokens import lower_table

# Endings that an address without "www." or a scheme is known by. Words of English are left out
# ("in", "it", "me", "us"), as many writers forget the space behind a full stop.
_ENDINGS = (
    "com net org info biz edu gov io kr jp cn de fr uk ru es nl pl br au ca eu ch tv app dev shop "
    "online site store blog xyz html htm php asp aspx jsp"
).split()


@dataclass(frozen=True)
class CaptionAddresses(Filter):
    """Share of characters in web addresses, at most `max_ratio`.

    An address is what stands between spaces and has "://", starts with "www." or has a host that
    ends as many do ("flickr.com/photos/1"). Photographers' credits are addresses, so that a
    description with one passes. `caption_filename` drops what is an address and nothing else.

    Source: data-juicer, clean_links_mapper, takes addresses of these forms out of texts; the limit
    of a half is ours.
    """

    max_ratio: float = 0.5

    reads = ("caption",)
    measures = (
        column("caption_address_ratio", pa.float64(), "of the characters but spaces, 0 to 1"),
    )
    bound_settings = ("max_ratio",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.caption_kernels import address_share

        text = Codepoints.of(batch.column("caption"))
        shares = np.empty(text.rows)
        endings = word_lists.hash_table(_ENDINGS)
        address_share(text.values, text.ends, lower_table(), class_table(), endings, shares)
        return [pa.array(shares)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_address_ratio", high=self.max_ratio),)
