"""What `match` keeps between its passes; removed when it is done."""

import pyarrow as pa

from pipeline.core.tables import ID, IMAGES, Table, column

NODES = Table(
    "match_nodes",
    "One row per searched fingerprint, in buckets by hash64 and by rising hash64 within one.",
    ("fingerprint",),
    pa.schema(
        [
            column("fingerprint", ID, "equal for pictures held to be the same without comparing"),
            IMAGES.schema.field("hash64").with_nullable(False),
            IMAGES.schema.field("hash256").with_nullable(False),
            column("aspect", pa.float64(), "width / height, upright; the smallest of its pictures"),
        ]
    ),
)
