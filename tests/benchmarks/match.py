"""How fast `match` finds every near-duplicate: Spark, block tables, audit and verification."""

import tempfile
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.fetch.settings import DownloadSection
from pipeline.match.blocks import choose_plan
from pipeline.stages import match
from tests.benchmarks.machine import spark_cpu_seconds

HASHES = 200_000
DUPLICATE_SHARE = 0.3
_GROUP_ROWS = 50_000


def run(scale: float = 1.0) -> dict[str, Any]:
    """Search `HASHES * scale` pictures, near 30% of them planted copies within 4 bits.

    cpu_seconds: of the driver's JVM, the Python workers and this process.
    """
    pictures = max(int(HASHES * scale), 1000)
    with tempfile.TemporaryDirectory() as root:
        store = Store(root)
        planted = _write_images(store, pictures)
        spark = session("benchmark match")
        spark.range(1).count()  # the session's own start is not the search's cost
        section = match.MatchSection()
        sections = {"run": RunSection(root=root), "match": section, "download": DownloadSection()}
        context: Context[Any] = Context("match", spark, store, section, sections, {})
        cpu, started = spark_cpu_seconds(spark), time.perf_counter()
        accounts = {account.unit: account for account in match.build(context)}
        seconds, cpu = time.perf_counter() - started, spark_cpu_seconds(spark) - cpu
    pairs, audited = accounts["candidate_pairs"], accounts["audited_neighbours"]
    plan = choose_plan(accounts["searched_pictures"].kept, section.radius)
    if pairs.kept < planted:
        raise AssertionError(f"{planted} copies planted, {pairs.kept} edges found")
    return {
        "workload": "match",
        "items": pictures,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "planted_pairs": planted,
        "candidate_pairs": pairs.rows_in,
        "edges": pairs.kept,
        "audited_neighbours": audited.rows_in,
        "audited_recall": audited.kept / max(audited.rows_in, 1),
        "blocks": plan.blocks,
        "tables": len(plan.masks),
        "expected_comparisons": plan.comparisons(pictures),
    }


def _write_images(store: Store, pictures: int) -> int:
    """Rows of `images`; how many of them are a copy that must be found."""
    rng = np.random.default_rng(20)
    copies = int(pictures * DUPLICATE_SHARE)
    hash64, hash256 = _balanced(rng, pictures - copies, 64), _balanced(rng, pictures - copies, 256)
    source = rng.integers(0, len(hash64), copies)
    near = hash64[source]
    for _ in range(4):
        near[np.arange(copies), rng.integers(0, 8, copies)] ^= np.uint8(1) << rng.integers(
            0, 8, copies, dtype=np.uint8
        )
    hash64 = np.concatenate([hash64, near])
    hash256 = np.concatenate([hash256, hash256[source]])
    order = rng.permutation(pictures)
    hash64, hash256 = hash64[order], hash256[order]
    for part, start in enumerate(range(0, pictures, _GROUP_ROWS)):
        rows = slice(start, start + _GROUP_ROWS)
        with store.publish_part(IMAGES, part) as sink:
            sink.write(_images(np.arange(pictures)[rows], hash64[rows], hash256[rows]))
    return copies


def _balanced(rng: np.random.Generator, rows: int, bits: int) -> npt.NDArray[np.uint8]:
    """Random hashes with as many ones as zeros: uint8 [rows, bits / 8]."""
    packed = [np.empty((0, bits // 8), np.uint8)]
    for start in range(0, rows, _GROUP_ROWS):
        noise = rng.random((min(_GROUP_ROWS, rows - start), bits), dtype=np.float32)
        ones = noise > np.median(noise, axis=1, keepdims=True)
        packed.append(np.packbits(ones, axis=1))
    return np.concatenate(packed)


def _images(
    numbers: npt.NDArray[np.int64],
    hash64: npt.NDArray[np.uint8],
    hash256: npt.NDArray[np.uint8],
) -> pa.Table:
    rows = len(numbers)
    ids = pa.array([int(n).to_bytes(16, "big") for n in numbers], pa.binary())
    given = {
        "image_id": ids,
        "fingerprint": ids,
        "part": pa.array(np.zeros(rows, np.int32)),
        "status": pa.array(["ok"] * rows),
        "consent": pa.array(["allowed"] * rows),
        "fetch_ms": pa.array(np.ones(rows, np.int32)),
        "fetched_at": pa.array(np.zeros(rows, np.int64)),
        "downloads": pa.array(np.ones(rows, np.int32)),
        "original_width": pa.array(np.full(rows, 640, np.int32)),
        "original_height": pa.array(np.full(rows, 480, np.int32)),
        "texture": pa.array(np.full(rows, 80, np.int32)),
        "hash64": pa.array(np.ascontiguousarray(hash64).view(np.int64).ravel()),
        "hash256": pa.array([bytes(h) for h in hash256], pa.binary()),
    }
    columns = [given.get(f.name, pa.nulls(rows, f.type)) for f in IMAGES.schema]
    return pa.Table.from_arrays(columns, schema=IMAGES.schema)
