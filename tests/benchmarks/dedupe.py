"""Rate of dedupe through Spark on generated pairs with a skewed number of repeats."""

import tempfile
import time

import numpy as np
import pyarrow as pa

from pipeline.core.context import Context
from pipeline.core.ids import image_id, pair_id
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.stages.dedupe import STAGE, DedupeSection, build
from tests.benchmarks.machine import spark_cpu_seconds

_PAIRS = 200_000
_FILES = 4


def run(scale: float = 1.0) -> dict[str, object]:
    """Zipf-like images, captions and domains; cpu_seconds are the JVM's and this process's."""
    spark = session("bench dedupe")
    rows = max(int(_PAIRS * scale), 1000)
    with tempfile.TemporaryDirectory() as root:
        store = Store(root)
        rng = np.random.default_rng(1)
        for part in range(_FILES):
            with store.publish_part(PAIRS, part) as sink:
                sink.write(_pairs(rng, rows // _FILES, rows))
        section = DedupeSection(parts=16, giant_domain_images=rows // 10)
        ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
        cpu, started = spark_cpu_seconds(spark), time.perf_counter()
        accounts = {a.unit: a for a in build(ctx)}
        seconds, cpu = time.perf_counter() - started, spark_cpu_seconds(spark) - cpu
    items = accounts["pairs"].rows_in
    return {
        "workload": "dedupe",
        "items": items,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "kept_pairs": accounts["pairs"].kept,
        "candidates": accounts["images"].kept,
    }


def _pairs(rng: np.random.Generator, rows: int, total: int) -> pa.Table:
    images = np.minimum(rng.zipf(1.3, rows), 10**9) * 7919 % total
    captions = np.minimum(rng.zipf(1.2, rows), 10**9) % (total // 2)
    pages = rng.integers(0, total, rows)
    urls = [f"https://cdn.site{i % 997}.example/img/{i}.jpg" for i in images.tolist()]
    texts = [f"caption number {c} of many" for c in captions.tolist()]
    ids = [image_id(u) for u in urls]
    columns = {
        "image_id": ids,
        "pair_id": [pair_id(i, t) for i, t in zip(ids, texts, strict=True)],
        "url": urls,
        "canonical_url": urls,
        "domain": [f"site{i % 997}.example" for i in images.tolist()],
        "caption": texts,
        "caption_kind": ["alt"] * rows,
        "page_url": [f"https://page{p % 5003}.example/{p}" for p in pages.tolist()],
        "page_domain": [f"page{p % 5003}.example" for p in pages.tolist()],
        "page_lang": [None] * rows,
        "page_optout": [None] * rows,
        "archive": ["bench"] * rows,
        "record_offset": pages.tolist(),
        "position": [0] * rows,
    }
    return pa.table(columns, schema=PAIRS.schema)
