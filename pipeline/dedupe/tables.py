"""What `dedupe` keeps between its passes; removed when it is done.

Keys are 64-bit: halves of the 16-byte ids, or hashes of texts that are only counted by, so that a
collision miscounts and never merges. Images are told apart by both halves of their id, pairs by
those and the first half of the pair's.
"""

import pyarrow as pa

from pipeline.core.tables import CANDIDATES, CAPTION, PAIRS, Table, column

KEYS = Table(
    "dedupe_keys",
    "One row per image, caption and page within a piece of the pairs; what is counted by.",
    ("image_hi", "image_lo", "pair", "page", "place"),
    pa.schema(
        [
            column("image_hi", pa.int64(), "first half of image_id, in the order of the bytes"),
            column("image_lo", pa.int64(), "second half, likewise"),
            column("pair", pa.int64(), "first half of pair_id, likewise; 0 without a caption"),
            column("caption", pa.int64(), "hash of the caption; 0 without one"),
            column("pattern", pa.int64(), "hash of its pattern; that of the caption without one"),
            column("page", pa.int64(), "hash of the page's URL"),
            column("page_domain", pa.int64(), "hash of the page's domain"),
            column("domain", pa.int64(), "hash of the image's domain"),
            column("row", pa.int64(), "hash of where the link stands: the smallest one is told by"),
            column("place", pa.int64(), "in ROWS: part << 32 | row; -1 without a caption"),
            column("kinds", pa.int32(), "caption_kinds"),
            column("optout", pa.string(), "page_optout", null="the page states none"),
        ]
    ),
)

# The strings, each distinct pair of a piece once; a file of record batches, not Parquet.
ROWS = Table(
    "dedupe_rows",
    "The texts of the rows that KEYS.place points to.",
    ("image_id", "pair_id"),
    pa.schema(
        [
            PAIRS.schema.field(name)
            for name in (
                "image_id",
                "pair_id",
                "url",
                "canonical_url",
                "domain",
                "caption",
                "caption_original",
                "caption_lang",
                "caption_lang_confidence",
                "page_url",
                "page_domain",
                "page_lang",
                "page_lang_detected",
            )
        ]
    ),
)

COUNTS = Table(
    "dedupe_counts",
    "What is known of pairs when the rows of their images were together.",
    ("place", "page_domain"),
    pa.schema(
        [
            column("is_kept", pa.bool_(), "it becomes a candidate's caption"),
            column("is_first", pa.bool_(), "one kept pair of each image is"),
            column("is_pair", pa.bool_(), "it counts among its caption's images"),
            column("is_on_domain", pa.bool_(), "it counts among those on `page_domain`"),
            column("caption", pa.int64(), "hash of the caption"),
            column("pattern", pa.int64(), "hash of its pattern; equal captions have equal ones"),
            column("page_domain", pa.int64(), "hash of the page's domain"),
            column("domain", pa.int64(), "hash of the image's domain"),
            column("row", pa.int64(), "hash of where its link stands"),
            column("place", pa.int64(), "in ROWS"),
            column("kinds", pa.int32(), "caption_kinds, of all its rows"),
            column("pages", pa.int64(), "distinct pages with this image and caption"),
            column("image_pages", pa.int64(), "distinct pages with the image"),
            column("image_page_domains", pa.int64(), "distinct domains of those"),
            column("optout", pa.string(), "the smallest of the image's", null="none"),
        ]
    ),
)

_CAPTION_COUNTS = (
    "caption_images",
    "caption_domains",
    "caption_domain_images",
    "caption_pattern_pairs",
)
# Of a kept pair, all but its texts: what is sent to where they lie.
COUNTED = pa.schema(
    [
        COUNTS.schema.field(name)
        for name in ("domain", "row", "place", "kinds", "pages", "image_pages")
    ]
    + [COUNTS.schema.field(name) for name in ("image_page_domains", "optout")]
    + [CAPTION.field(name) for name in _CAPTION_COUNTS]
)
# With its texts.
TOLD = pa.schema(
    [*ROWS.schema, *(f for f in COUNTED if f.name not in ("domain", "place"))],
)
CANDIDATE_FILE = pa.schema([f for f in CANDIDATES.schema if f.name != CANDIDATES.partition])
