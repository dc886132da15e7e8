"""`cluster` on planted embeddings: copies and SemDeDup's measure, whatever cores and caps."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import PairmillError
from pipeline.core.spark import read_table
from pipeline.core.storage import Store
from pipeline.core.tables import COPIES, EMBEDDINGS, IMAGES, SEMANTICS
from pipeline.core.vectors import pack
from pipeline.match.centroids import Float32, assign
from pipeline.stages import cluster
from pipeline.stages.cluster import ClusterSection
from pipeline.stages.score_section import ScoreSection
from tests.match.test_clustered import semdedup
from tests.match.vectors import clumped, cosines, digests

pytestmark = pytest.mark.spark
ROWS = 300


def images(ids: list[bytes]) -> list[dict[str, Any]]:
    """Every content behind one URL or two; fingerprints in another order than contents."""
    rows = []
    for n, content in enumerate(ids):
        for url in range(1 + n % 2):
            row = {f.name: None for f in IMAGES.schema}
            row |= {"image_id": bytes([url]) + content[1:], "part": 0, "status": "ok"}
            row |= {"consent": "allowed", "fetch_ms": 1, "fetched_at": 0, "downloads": 1}
            row |= {"sha256": content * 2, "fingerprint": fingerprint(content)}
            rows.append(row)
    return rows


def fingerprint(content: bytes) -> bytes:
    return bytes(255 - b for b in content)


def write(root: Path, vectors: dict[str, Float32], ids: list[bytes], parts: int) -> Store:
    store = Store(str(root))
    for part in range(parts):
        mine = np.arange(part, len(ids), parts)[:: 1 if parts == 1 else -1]
        with store.publish_part(EMBEDDINGS, part) as sink:
            for kind, found in vectors.items():
                columns = [
                    pa.array(["copy" if kind == "copy" else "clip"] * len(mine)),
                    pa.array(["image" if kind == "copy" else kind] * len(mine)),
                    pa.array([ids[i] for i in mine], pa.binary()),
                    pack(found[mine]),
                ]
                sink.write(pa.RecordBatch.from_arrays(columns, schema=EMBEDDINGS.schema))
    with store.publish_part(IMAGES, 0) as sink:
        sink.write_rows(images(ids))
    return store


def search(spark: Any, store: Store, copy_model: str = "", **settings: Any) -> dict[str, Account]:
    section = ClusterSection(**settings)
    sections = {"run": RunSection(root=store.root), "cluster": section}
    sections |= {"score": ScoreSection(copy_model=copy_model)}
    accounts = cluster.build(Context("cluster", spark, store, section, sections, {}))
    for account in accounts:
        account.check("cluster")
    return {account.unit: account for account in accounts}


def rows(spark: Any, store: Store, table: Any) -> list[dict[str, Any]]:
    return list(
        read_table(spark, store, table)
        .toArrow()
        .sort_by([(k, "ascending") for k in table.key])
        .to_pylist()
    )


def test_copies_and_the_measure_do_not_depend_on_parts_cores_and_caps(
    spark: Any, tmp_path: Path
) -> None:
    ids = digests(ROWS)
    described, pictured = clumped(ROWS, 24, 1), clumped(ROWS, 32, 2)
    described[7, 3] = np.nan
    vectors = {"text": clumped(ROWS, 32, 3), "image": pictured, "copy": described}
    found = []
    for name, parts, cap, partitions in (("a", 1, 10_000, "1"), ("b", 3, 20, "5")):
        store = write(tmp_path / name, vectors, ids, parts)
        before = spark.conf.get("spark.sql.shuffle.partitions")
        spark.conf.set("spark.sql.shuffle.partitions", partitions)
        try:
            accounts = search(
                spark,
                store,
                "model.pt",
                semantic=True,
                clusters=6,
                cluster_cap=cap,
                copy_similarity=0.95,
                audit_rows=ROWS,
                audit_similarity=0.95,
            )
        finally:
            spark.conf.set("spark.sql.shuffle.partitions", before)
        found.append([accounts, rows(spark, store, COPIES), rows(spark, store, SEMANTICS)])
    first, second = found
    assert first == second
    accounts, copies, semantics = first

    assert accounts["copy_descriptors"].dropped == {"not_finite": 1}
    centroids = np.load(tmp_path / "a/centroids/copy.npy").astype(np.float32)
    described[7] = described[8]  # any numbers: it has no cluster
    clusters = [set(c) for c in assign(described, centroids, 2).clusters.tolist()]
    clusters[7] = set()
    truth = cosines(described)
    near = [
        (a, b) for a in range(ROWS) for b in range(a) if truth[a, b] >= 0.95 and 7 not in (a, b)
    ]
    shared = [(a, b) for a, b in near if clusters[a] & clusters[b]]
    expected = {
        tuple(sorted((fingerprint(ids[a]), fingerprint(ids[b])))): truth[a, b] for a, b in shared
    }
    assert len(copies) == len(expected) > 30
    for row in copies:
        edge = (row["fingerprint_a"], row["fingerprint_b"])
        assert row["similarity"] == np.float32(expected[edge])
    # Every picture was sampled: the audit counts all pairs, and those that share a cluster.
    audited = accounts["audited_copies"]
    assert (audited.rows_in, audited.kept) == (len(near), len(shared))

    centroids = np.load(tmp_path / "a/centroids/image.npy").astype(np.float32)
    nearest = assign(pictured, centroids, 1)
    measured = semdedup(
        pictured,
        ids,
        nearest.clusters[:, 0].tolist(),
        nearest.similarity[:, 0].astype(np.float32).tolist(),
        "hard",
    )
    assert {r["content_id"]: r["semantic_similarity"] for r in semantics} == measured
    assert [r["cluster"] for r in semantics] == [
        c for _, c in sorted(zip(ids, nearest.clusters[:, 0].tolist(), strict=True))
    ]
    assert accounts["audited_alike"].kept > 0


def test_off_writes_empty_tables_and_reads_nothing(spark: Any, tmp_path: Path) -> None:
    store = Store(str(tmp_path))  # there are no tables to read
    assert search(spark, store) == {}
    assert rows(spark, store, COPIES) == rows(spark, store, SEMANTICS) == []


def test_nothing_embedded_gives_nothing(spark: Any, tmp_path: Path) -> None:
    store = write(tmp_path, {"text": clumped(3, 8, 0)}, digests(3), 1)
    accounts = search(spark, store, "model.pt", semantic=True)
    assert [(a.rows_in, a.kept) for a in accounts.values()] == [(0, 0), (0, 0)]
    assert rows(spark, store, COPIES) == rows(spark, store, SEMANTICS) == []


def test_a_recall_under_the_bound_stops_the_stage(spark: Any, tmp_path: Path) -> None:
    store = write(tmp_path, {"copy": clumped(200, 8, 0, clumps=1)}, digests(200), 1)
    settings = {"clusters": 20, "probe": 1, "copy_similarity": 0.5, "min_recall": 0.99}
    with pytest.raises(PairmillError, match=r"under cluster.min_recall = 0.99; raise cluster.pr"):
        search(spark, store, "model.pt", **settings)
