"""Rows of COUNTS, together by pattern of the caption, to counts of captions beside their pairs."""

import numpy as np
import pyarrow as pa

from pipeline.dedupe.keys import Longs, starts
from pipeline.dedupe.tables import COUNTED


def count(rows: pa.Table) -> pa.RecordBatch:
    """Rows of COUNTED: the kept pairs, each with the counts of its caption.

    rows: of COUNTS in any order, all of each pattern in it, and so of each caption.
    """
    pattern, caption, domain = (
        rows.column(n).to_numpy() for n in ("pattern", "caption", "page_domain")
    )
    order = np.lexsort((domain, caption))
    is_pair, on_domain, kept = (
        rows.column(n).to_numpy()[order] for n in ("is_pair", "is_on_domain", "is_kept")
    )
    pattern, caption, domain = pattern[order], caption[order], domain[order]
    is_caption, is_domain = starts(caption), starts(caption, domain)
    of_caption, of_domain = np.cumsum(is_caption) - 1, np.cumsum(is_domain) - 1
    images = np.bincount(of_caption, is_pair).astype(np.int64)
    domain_images = np.bincount(of_domain, on_domain).astype(np.int64)
    domains = np.bincount(of_caption[is_domain], domain_images > 0).astype(np.int64)
    pattern_pairs = _pattern_pairs(pattern[is_domain], domain[is_domain], domain_images)
    chosen = order[kept]
    found = {
        "caption_images": images[of_caption[kept]],
        "caption_domains": domains[of_caption[kept]],
        "caption_domain_images": domain_images[of_domain[kept]],
        "caption_pattern_pairs": pattern_pairs[of_domain[kept]],
    }
    taken = rows.select([n for n in COUNTED.names if n not in found]).take(pa.array(chosen))
    arrays = [
        pa.array(found[n]) if n in found else taken.column(n).combine_chunks()
        for n in COUNTED.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=COUNTED)


def _pattern_pairs(pattern: Longs, domain: Longs, images: Longs) -> Longs:
    """Of each caption on each domain, the images with any caption of its pattern there."""
    order = np.lexsort((domain, pattern))
    of_pattern = np.cumsum(starts(pattern[order], domain[order])) - 1
    totals = np.bincount(of_pattern, images[order]).astype(np.int64)
    found = np.empty(len(order), np.int64)
    found[order] = totals[of_pattern]
    return found
