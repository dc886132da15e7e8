"""Rate, shuffle and memory of dedupe through Spark on generated pairs.

Skew as on the web: images, captions and domains by power laws, a pixel that every hundredth row
is, 1.3 rows per distinct pair, URLs and captions of the usual lengths. Ids are random 16 bytes by
rank. Sizes: `dedupe` (half a million pairs), `dedupe-5m`, `dedupe-20m`, `dedupe-50m`. The last
takes 20 GB of the folder for temporary files (TMPDIR) and, on two cores, some 20 minutes.
"""

import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.context import Context
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.stages.dedupe import STAGE, DedupeSection, build
from tests.benchmarks.machine import spark_cpu_seconds

_PAIRS = 500_000
_FILE_ROWS = 250_000
_MILLION = 1_000_000
_WORDS = (
    "red blue old new house dog cat woman portrait of the in with on a sunset over green vector "
    "background photo stock image design summer wedding dress black white leather bag free "
    "shipping modern kitchen table wooden art print poster city street night winter mountain "
    "river car vintage style logo icon set isolated food recipe chicken salad healthy baby girl"
).split()

Numbers = npt.NDArray[np.int64]


def run(scale: float = 1.0) -> dict[str, object]:
    """cpu_seconds are those of the JVM, its Python workers and this process."""
    return measure("dedupe", max(int(_PAIRS * scale), 1000))


def run_5m() -> dict[str, object]:
    return measure("dedupe-5m", 5 * _MILLION)


def run_20m() -> dict[str, object]:
    return measure("dedupe-20m", 20 * _MILLION)


def run_50m() -> dict[str, object]:
    return measure("dedupe-50m", 50 * _MILLION)


def measure(workload: str, rows: int) -> dict[str, object]:
    """Make the pairs, dedupe them, and say what that took."""
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    os.environ.setdefault("PAIRMILL_BENCH_MEMORY", "1500m")
    try:
        store = Store(root)
        started = time.perf_counter()
        generate(store, rows)
        generated = time.perf_counter() - started
        spark = _session(root)
        section = DedupeSection(parts=max(16, rows // 400_000), giant_domain_images=rows // 50)
        ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
        cpu, started = spark_cpu_seconds(spark), time.perf_counter()
        accounts = {a.unit: a for a in build(ctx)}
        seconds, cpu = time.perf_counter() - started, spark_cpu_seconds(spark) - cpu
        figures = shuffled(spark)
        sizes = {name: _bytes(Path(root, name)) for name in ("pairs", "candidates")}
        spark.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {
        "workload": workload,
        "items": accounts["pairs"].rows_in,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "generated_rows_per_second": round(rows / generated),
        "kept_pairs": accounts["pairs"].kept,
        "dropped": dict(accounts["pairs"].dropped),
        "candidates": accounts["images"].kept,
        "shuffle_mb_per_million_pairs": round(figures["shuffled"] / rows, 1),
        "spilled_mb": round(figures["spilled"] / 1e6, 1),
        "bytes": sizes,
    }


def _session(folder: str):  # type: ignore[no-untyped-def]
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--driver-memory {os.environ['PAIRMILL_BENCH_MEMORY']} "
        f"--conf spark.local.dir={folder}/spark pyspark-shell"
    )
    return session("bench dedupe")


def shuffled(spark) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """Bytes all Spark stages of this session wrote to shuffles and spilled to disk."""
    jvm = spark.sparkContext._jvm
    none = jvm.java.util.ArrayList()
    quantiles = spark.sparkContext._gateway.new_array(jvm.double, 0)
    store = spark.sparkContext._jsc.sc().statusStore()
    stages = store.stageList(none, False, False, quantiles, none)
    found = {"shuffled": 0, "spilled": 0}
    for i in range(stages.size()):
        found["shuffled"] += stages.apply(i).shuffleWriteBytes()
        found["spilled"] += stages.apply(i).diskBytesSpilled()
    return found


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*.parquet"))


def generate(store: Store, rows: int) -> None:
    """Write PAIRS, file by file; memory for one."""
    for part, first in enumerate(range(0, rows, _FILE_ROWS)):
        count = min(_FILE_ROWS, rows - first)
        with store.publish_part(PAIRS, part) as sink:
            sink.write(pairs(np.random.default_rng((1, part)), count, rows, part))


def _ranks(rng: np.random.Generator, count: int, size: int, exponent: float) -> Numbers:
    """Numbers below `size`, small ones more often: a power law with a long flat tail."""
    u = rng.random(count)
    low = 1.0 - exponent
    # The inverse of the continuous power law on [1, size].
    ranks = (1 + u * (float(size) ** low - 1)) ** (1 / low)
    return ranks.astype(np.int64) - 1


def pairs(rng: np.random.Generator, count: int, total: int, part: int) -> pa.Table:
    """`count` of `total` rows of PAIRS."""
    image = _ranks(rng, count, total * 2, 0.55)
    # A picture mostly has one caption of its own; some captions are everywhere.
    variant = np.where(rng.random(count) < 0.9, 0, rng.integers(1, 6, count))
    caption = image * 7 + variant
    common = rng.random(count) < 0.2
    caption[common] = -1 - _ranks(rng, count, total, 1.05)[common]
    page = np.repeat(_ranks(rng, count, total // 4, 0.2)[: -(-count // 6)], 6)[:count]
    pixel = rng.random(count) < 0.01
    image[pixel], caption[pixel] = 0, -1
    none = rng.random(count) < 0.01
    site = _sites(max(total // 50, 100))
    image_site, page_site = site[image & 0xFFFFF], site[(page * 31 + 7) & 0xFFFFF]
    image_ids, pair_ids = _ids(image, np.zeros_like(image)), _ids(image, caption)
    domain, page_domain = (
        _numbered("site", image_site, ".example"),
        _numbered("page", page_site, ".example"),
    )
    url = _joined("https://cdn.", domain, "/wp-content/uploads/2024/", _token(image, 12), ".jpg")
    texts = _captions(caption)
    columns = {
        "image_id": image_ids,
        "pair_id": _masked(pair_ids, none),
        "url": url,
        "canonical_url": url,
        "domain": domain,
        "caption": _masked(texts, none),
        "caption_original": pa.nulls(count, pa.string()),
        "caption_kind": _masked(_same("alt", count), none),
        "caption_kinds": pa.array(np.where(none, 0, 1).astype(np.int32)),
        "caption_lang": _masked(_same("en", count), none),
        "caption_lang_confidence": _masked(pa.array(np.full(count, 0.9, np.float32)), none),
        "page_url": _joined(
            "https://www.", page_domain, "/articles/some-topic/", _token(page, 16), ""
        ),
        "page_domain": page_domain,
        "page_lang": _same("en-US", count),
        "page_lang_detected": _same("en", count),
        "page_optout": _masked(_same("meta:noimageai", count), rng.random(count) > 0.02),
        "page_robots_meta": pa.nulls(count, pa.string()),
        "page_robots_tag": pa.nulls(count, pa.string()),
        "page_tdm": pa.nulls(count, pa.string()),
        "archive": _same(f"crawl-data/CC-MAIN-2026-40/segments/{part:05d}.warc.wat.gz", count),
        "record_offset": pa.array(np.arange(count, dtype=np.int64) // 8 * 10_000),
        "position": pa.array(np.arange(count, dtype=np.int32) % 8),
    }
    return pa.table([columns[n] for n in PAIRS.schema.names], schema=PAIRS.schema)


@cache
def _sites(size: int) -> Numbers:
    return _ranks(np.random.default_rng(2), 1 << 20, size, 0.9)


def _scrambled(values: Numbers, salt: int) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014): random-looking, the same for the same value."""
    z = values.view(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _ids(first: Numbers, second: Numbers) -> pa.Array:
    both = first * 1_000_003 + second
    words = np.stack([_scrambled(both, 1), _scrambled(both ^ first, 2)], axis=1)
    ends = np.arange(0, 16 * len(first) + 1, 16, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(),
        len(first),
        [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(words))],
    )


def _masked(values: pa.Array, nulls: npt.NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(nulls), pa.scalar(None, values.type), values)


def _same(text: str, count: int) -> pa.Array:
    return pa.repeat(text, count)


def _numbered(prefix: str, numbers: Numbers, suffix: str) -> pa.Array:
    return _joined(prefix, pa.array(numbers).cast(pa.string()), suffix)


def _joined(*parts: object) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _token(values: Numbers, digits: int) -> pa.Array:
    """The scrambled values as up to that many digits."""
    return pa.array(_scrambled(values, 3) % np.uint64(10**digits)).cast(pa.string())


@cache
def _phrases() -> pa.Array:
    rng = np.random.default_rng(3)
    return pa.array([" ".join(rng.choice(_WORDS, 4)) for _ in range(4096)])


def _captions(numbers: Numbers) -> pa.Array:
    """Eight words and a number each: 60 characters in the mean."""
    scrambled = _scrambled(numbers, 4)
    chosen = [
        _phrases().take(pa.array(scrambled >> np.uint64(s) & np.uint64(4095))) for s in (0, 12)
    ]
    return pc.binary_join_element_wise(*chosen, pa.array(numbers).cast(pa.string()), " ")
