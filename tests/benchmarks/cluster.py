"""How fast `cluster` finds planted copies and SemDeDup's measure, and what its boundaries lose."""

import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDINGS, IMAGES
from pipeline.core.vectors import pack
from pipeline.match.alike import close_pairs
from pipeline.match.centroids import Float32, choose_clusters
from pipeline.stages import cluster
from pipeline.stages.score import ScoreSection
from tests.benchmarks.machine import spark_cpu_seconds

ROWS, WIDTH = 100_000, 512
COPY_SHARE = 0.2
# Like SSCD's and CLIP's, the vectors lie in clumps: this far, by cosine, from the clump's middle.
_CLUMPS, _TO_CLUMP = 500, 0.5
_LEAST = 0.76  # cosine of the farthest copies; the nearest are all but equal
_GROUP_ROWS = 20_000
_KERNEL_ROWS = 8192


def run(scale: float = 1.0) -> dict[str, Any]:
    """Search `ROWS * scale` descriptors of 512 values, every fifth a planted copy, probe 2.

    seconds and cpu_seconds: of the search for copies and that for SemDeDup's measure together,
    Spark's own cost included. comparisons: pairs that are compared, at least (both searches).
    """
    return _run("cluster", int(ROWS * scale))


def run_25k(scale: float = 1.0) -> dict[str, Any]:
    """The same with a quarter of the rows, to see how it grows."""
    return _run("cluster-25k", int(ROWS / 4 * scale))


def _run(workload: str, rows: int) -> dict[str, Any]:
    vectors, planted = made(max(rows, 100))
    with tempfile.TemporaryDirectory() as root:
        store = Store(root)
        _write(store, vectors)
        spark = session(f"benchmark {workload}")
        spark.range(1).count()  # the session's own start is not the search's cost
        section = cluster.ClusterSection(semantic=True, audit_rows=500, audit_similarity=0.9)
        sections = {"run": RunSection(root=root), "cluster": section}
        sections |= {"score": ScoreSection(copy_model="model.pt")}
        context: Context[Any] = Context("cluster", spark, store, section, sections, {})
        cpu, started = spark_cpu_seconds(spark), time.perf_counter()
        accounts = {account.unit: account for account in cluster.build(context)}
        seconds, cpu = time.perf_counter() - started, spark_cpu_seconds(spark) - cpu
    found, audited = accounts["copies"].kept, accounts["audited_copies"]
    clusters = choose_clusters(len(vectors), 2, section.train_rows)
    return {
        "workload": workload,
        "items": len(vectors),
        "width": WIDTH,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "clusters": clusters,
        "planted_copies": planted,
        "copies_found": found,
        "audited_pairs": audited.rows_in,
        "boundary_recall": audited.kept / max(audited.rows_in, 1),
        "semantic_boundary_recall": _recall(accounts["audited_alike"]),
        "comparisons_of_copies": (2 * len(vectors)) ** 2 // (2 * clusters),
        **_kernel(vectors[:_KERNEL_ROWS]),
    }


def _recall(account: Any) -> float:
    return float(account.kept / max(account.rows_in, 1))


def _kernel(vectors: Float32) -> dict[str, float]:
    """The search within one cluster, and the bare product of matrices, on one core."""
    cpu = time.process_time()
    for _ in close_pairs(vectors, None, 0.75):
        pass
    search = time.process_time() - cpu
    # Two matrices, since a product with itself is computed by half.
    block, other = vectors[:2048], np.ascontiguousarray(vectors[-2048:]).T
    cpu = time.process_time()
    for _ in range(10):
        block @ other
    blas = (time.process_time() - cpu) / 10
    pairs = len(vectors) * (len(vectors) - 1) / 2
    return {
        "kernel_pairs_per_core_second": pairs / search,
        "kernel_gflop_per_core_second": 2 * WIDTH * pairs / search / 1e9,
        "blas_gflop_per_core_second": 2 * WIDTH * len(block) ** 2 / blas / 1e9,
    }


def made(rows: int) -> tuple[Float32, int]:
    """Unit vectors, float32 [rows, 512], in no order; how many are copies of another one."""
    rng = np.random.default_rng(11)
    copies = int(rows * COPY_SHARE)
    middles = _unit(rng.normal(size=(_CLUMPS, WIDTH)).astype(np.float32))
    noise = _unit(rng.normal(size=(rows, WIDTH)).astype(np.float32))
    vectors = _TO_CLUMP * middles[rng.integers(0, _CLUMPS, rows)]
    vectors += np.float32(np.sqrt(1 - _TO_CLUMP**2)) * noise
    cosine = rng.uniform(_LEAST, 1, (copies, 1)).astype(np.float32)
    vectors[:copies] = cosine * _unit(vectors[rng.integers(copies, rows, copies)])
    vectors[:copies] += np.sqrt(1 - cosine**2) * noise[:copies]
    return _unit(vectors)[rng.permutation(rows)], copies


def _unit(vectors: Float32) -> Float32:
    found: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def _write(store: Store, vectors: Float32) -> None:
    rows = len(vectors)
    digests = np.random.default_rng(12).integers(0, 256, (rows, 16), dtype=np.uint8)
    ids = [bytes(d) for d in digests]
    for part, start in enumerate(range(0, rows, _GROUP_ROWS)):
        chosen = slice(start, start + _GROUP_ROWS)
        found, names = pack(vectors[chosen]), pa.array(ids[chosen], pa.binary())
        with store.publish_part(EMBEDDINGS, part) as sink:
            for model in ("clip", "copy"):
                models, kinds = (pa.array([v] * len(found)) for v in (model, "image"))
                columns = [models, kinds, names, found]
                sink.write(pa.RecordBatch.from_arrays(columns, schema=EMBEDDINGS.schema))
    given = {
        "image_id": pa.array(ids, pa.binary()),
        "fingerprint": pa.array(ids, pa.binary()),
        "sha256": pa.array([i * 2 for i in ids], pa.binary()),
        "part": pa.array(np.zeros(rows, np.int32)),
        "status": pa.array(["ok"] * rows),
        "consent": pa.array(["allowed"] * rows),
        "fetch_ms": pa.array(np.ones(rows, np.int32)),
        "fetched_at": pa.array(np.zeros(rows, np.int64)),
        "downloads": pa.array(np.ones(rows, np.int32)),
    }
    columns = [given.get(f.name, pa.nulls(rows, f.type)) for f in IMAGES.schema]
    with store.publish_part(IMAGES, 0) as sink:
        sink.write(pa.Table.from_arrays(columns, schema=IMAGES.schema))
