"""`cluster`: pictures alike by their embeddings, searched within k-means clusters.

Copies that hashes cannot catch (heavy crops, collages) are pairs of copy-detection descriptors over
a threshold: the `copies` table. SemDeDup's measure on CLIP's embeddings, how much a picture
resembles those before it in its cluster, is the `semantics` table. Both are empty unless asked for.

Cost for N rows of width d in k clusters: N k d to find each row's nearest centroids, one shuffle
of 2 d + 50 bytes a row and centroid (a row of a cluster in P parts: P times), and about
(N probe)^2 d / (2 k) for the comparisons. Memory of a task: two parts of `cluster_cap` rows, of 6 d
bytes each.
"""

import io
from dataclasses import dataclass

import numpy as np
import structlog
from pydantic import Field
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from pipeline.core import spark_files
from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import PairmillError
from pipeline.core.progress import watch
from pipeline.core.reasons import ClusterReason, Status
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CLIP_MODEL,
    COPIES,
    COPY_MODEL,
    EMBEDDINGS,
    IMAGES,
    SEMANTICS,
    Table,
)
from pipeline.core.vectors import STORED, values
from pipeline.match import centroids
from pipeline.match.boundary import near_sample, recall
from pipeline.match.cluster_units import Plan, plan_units
from pipeline.match.clustered import Half, Order, assigned, copies, maxima, words
from pipeline.stages.score_section import ScoreSection

_FOLDER = "centroids"
_SAMPLE = "cluster_sample"
# Whose embeddings of pictures are searched, by what they are searched for.
_MODELS = {"copy": COPY_MODEL, "image": CLIP_MODEL}
_ROWS_PER_TASK = 20_000


class ClusterSection(StageSection):
    """`[cluster]`. Copies are searched when `score.copy_model` is given.

    semantic: find SemDeDup's measure, which the filter `semantic_duplicate` bounds.
    order: which of two alike comes first and stays: "hard" the one farther from the centroid (the
        published default), "easy" the nearer one, "random" by a seeded hash.
    copy_similarity: cosine from which on two pictures are copies. For the model sscd_disc_mixup
        0.75 gives 90% precision on DISC (SSCD's README); another model needs a value of its own.
    clusters: 0 for what costs least (probe * sqrt(pictures / 2)), with 1,000 pictures each or more.
        SemDeDup took 50,000 for 440 million.
    probe: nearest centroids that a picture is searched in for copies; each more costs as much again
        in the shuffle, and finds more of what lies on both sides of a boundary. SemDeDup has one.
    cluster_cap: rows above which a cluster is cut into parts, each compared with every other;
        changes speed and memory only.
    train_rows: pictures the centroids are trained on, a seeded sample in the driver's memory
        (6 bytes x width each).
    threads: of the training; results depend on it in the last bits.
    audit_rows: pictures that are searched by brute force, to tell how much the boundaries between
        clusters lose; 0 for none.
    audit_similarity: cosine from which on the audit of the semantic search counts pairs as alike;
        0.97 is SemDeDup's epsilon of 0.03, at which half of LAION-440M goes.
    min_recall: the stage fails when the audit finds less of the alike pairs in a shared cluster.
    """

    semantic: bool = False
    order: Order = "hard"
    copy_similarity: float = Field(default=0.75, gt=0, le=1)
    clusters: int = Field(default=0, ge=0, le=10_000_000)
    probe: int = Field(default=2, ge=1, le=64)
    cluster_cap: int = tuning(32_768, ge=1)
    train_rows: int = Field(default=250_000, ge=1)
    threads: int = Field(default=1, ge=1, le=1024)
    audit_rows: int = tuning(1000, ge=0)
    audit_similarity: float = tuning(0.97, gt=0, le=1)
    min_recall: float = tuning(0.0, ge=0, le=1)


@dataclass(frozen=True)
class _Search:
    """Embeddings of a kind with their clusters, and how they are compared. seed: of the run."""

    rows: DataFrame
    plan: Plan
    seed: int


def build(ctx: Context[ClusterSection]) -> list[Account]:
    """Write `copies` and `semantics`; accounts of embeddings, and of what the audits found.

    Raises PairmillError when the audit's recall is under `min_recall`.
    """
    score = ctx.sections["score"]
    assert isinstance(score, ScoreSection)
    accounts = _copies(ctx) if score.copy_model else _none(ctx, COPIES)
    return accounts + (_semantics(ctx) if ctx.config.semantic else _none(ctx, SEMANTICS))


def _none(ctx: Context[ClusterSection], table: Table) -> list[Account]:
    ctx.write(table, ctx.spark.createDataFrame([], from_arrow_schema(table.schema)))
    return []


def _copies(ctx: Context[ClusterSection]) -> list[Account]:
    account = Account("copy_descriptors")
    search = _search(ctx, "copy", ctx.config.probe, account)
    if search is None:
        return [account, *_none(ctx, COPIES)]
    threshold = ctx.config.copy_similarity
    pairs = copies(search.rows, search.plan, threshold).persist(StorageLevel.DISK_ONLY)
    fingerprints = (
        ctx.read(IMAGES)
        .where(F.col("status") == Status.OK.value)
        .groupBy(F.substring("sha256", 1, 16).alias("content"))
        .agg(F.min("fingerprint").alias("fingerprint"))
    )
    a, b = (
        fingerprints.select(F.col("content").alias(f"content_{s}"), F.col("fingerprint").alias(s))
        for s in ("a", "b")
    )
    edges = (
        pairs.join(a, "content_a")
        .join(b, "content_b")
        .select(
            F.least("a", "b").alias("fingerprint_a"),
            F.greatest("a", "b").alias("fingerprint_b"),
            "similarity",
        )
    )
    written = ctx.write(COPIES, edges)
    accounts = [account, Account("copies", rows_in=written, kept=written)]
    if ctx.config.audit_rows:
        near = near_sample(search.rows, threshold, ctx.config.audit_rows, search.seed).persist()
        found = near.join(pairs, ["content_a", "content_b"], "left_semi").count()
        accounts.append(_audit(ctx, "audited_copies", near, found))
    for kept in (pairs, search.rows):
        kept.unpersist()
    return accounts


def _semantics(ctx: Context[ClusterSection]) -> list[Account]:
    account = Account("image_embeddings")
    search = _search(ctx, "image", 1, account)
    if search is None:
        return [account, *_none(ctx, SEMANTICS)]
    written = ctx.write(SEMANTICS, maxima(search.rows, search.plan, ctx.config.order, search.seed))
    if written != account.kept:
        raise PairmillError(f"cluster: {account.kept} embeddings, but {written} measured")
    accounts = [account]
    if ctx.config.audit_rows:
        threshold = ctx.config.audit_similarity
        near = near_sample(search.rows, threshold, ctx.config.audit_rows, search.seed).persist()
        accounts.append(_audit(ctx, "audited_alike", near, None))
    search.rows.unpersist()
    return accounts


def _search(
    ctx: Context[ClusterSection], kind: str, probe: int, account: Account
) -> _Search | None:
    """The embeddings of a kind, clustered and counted in `account`; None without any."""
    run = ctx.sections["run"]
    assert isinstance(run, RunSection)
    of_model = (F.col("model") == _MODELS[kind]) & (F.col("kind") == "image")
    embedded = ctx.read(EMBEDDINGS).where(of_model)
    total = embedded.count()
    if not total:
        return None
    with watch(ctx.spark, f"cluster: {kind}"):
        trained = _centroids(ctx, embedded, kind, probe, total)
        if trained is None:
            account.drop(ClusterReason.NOT_FINITE, total)
            return None
        rows = assigned(embedded, trained, probe).persist(StorageLevel.DISK_ONLY)
        nearest = F.explode("clusters").alias("cluster")
        counted = rows.select(nearest).groupBy("cluster").count().collect()
        sizes = {row["cluster"]: row["count"] for row in counted}
        kept = sum(sizes.values()) // min(probe, len(trained))
    account.keep(kept)
    account.drop(ClusterReason.NOT_FINITE, total - kept)
    most = int(ctx.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    tasks = max(min(most, -(-kept * probe // _ROWS_PER_TASK)), 1)
    plan = plan_units(sizes, len(trained), ctx.config.cluster_cap, tasks)
    structlog.get_logger().info(
        "planned",
        kind=kind,
        rows=kept,
        clusters=len(trained),
        largest=max(sizes.values()),
        cut=int((plan.parts > 1).sum()),
        units=len(plan.cluster),
        tasks=plan.tasks,
        comparisons=sum(size * (size - 1) // 2 for size in sizes.values()),
    )
    return _Search(rows, plan, run.seed)


def _centroids(
    ctx: Context[ClusterSection], embedded: DataFrame, kind: str, probe: int, total: int
) -> Half | None:
    """The run's centroids of a kind: those it has already, or trained and published now.

    None when there is not one vector of numbers to train them on.
    """
    config, store, name = ctx.config, ctx.store, f"{_FOLDER}/{kind}.npy"
    if not store.exists(name):
        run = ctx.sections["run"]
        assert isinstance(run, RunSection)
        sample = _sample(store, embedded, min(config.train_rows / total, 1.0), run.seed)
        if not len(sample):
            return None
        wanted = config.clusters or centroids.choose_clusters(total, probe, config.train_rows)
        found = centroids.train(sample, wanted, run.seed, config.threads)
        file = io.BytesIO()
        np.save(file, found)
        with store.publish(name) as published:
            published.write(file.getvalue())
    loaded: Half = np.load(io.BytesIO(store.fs.cat_file(store.path(name))))
    return loaded


def _sample(store: Store, embedded: DataFrame, share: float, seed: int) -> centroids.Float32:
    """A share of the vectors, chosen and ordered by id, float32 [n, width]; without a non-number.

    By way of files, and not through the driver's JVM, whose heap it would fill.
    """
    grid = 1 << 32
    place = F.pmod(F.xxhash64("content_id", F.lit(seed)), F.lit(grid).cast("long"))
    chosen = embedded.where(place < F.lit(int(share * grid)).cast("long"))
    spark_files.write(store, _SAMPLE, chosen.select("content_id", "vector"))
    halves, ids = [], []
    for file in store.fs.find(store.path(_SAMPLE)):
        if file.endswith(".parquet"):
            with store.open_table(file) as opened:
                for batch in opened.iter_batches(65536):
                    halves.append(values(batch.column("vector")).view(STORED))
                    ids.append(words(batch.column("content_id")))
    store.remove(_SAMPLE)
    if not halves:
        return np.empty((0, 0), np.float32)
    key, found = np.concatenate(ids), np.concatenate(halves)
    halves.clear()
    order = np.lexsort((key[:, 1], key[:, 0]))
    is_finite = np.asarray(np.isfinite(found).all(axis=1))
    return found[order[is_finite[order]]].astype(np.float32)


def _audit(ctx: Context[ClusterSection], unit: str, near: DataFrame, found: int | None) -> Account:
    """The account of the sampled pictures' pairs: kept are those that share a cluster.

    found: how many of them the search gave, which must be as many.
    """
    told = recall(near)
    near.unpersist()
    if found is not None and found != told.shared:
        raise PairmillError(
            f"cluster: the audit found {told.shared} pairs in shared clusters, the search "
            f"{found} of them; this is a bug"
        )
    structlog.get_logger().info("audited", unit=unit, pairs=told.pairs, recall=told.share)
    if told.share < ctx.config.min_recall:
        raise PairmillError(
            f"cluster: {told.shared} of {told.pairs} pairs of {unit} share a cluster (recall "
            f"{told.share:.4f}), under cluster.min_recall = {ctx.config.min_recall}; raise "
            "cluster.probe or lower cluster.clusters"
        )
    account = Account(unit)
    account.keep(told.shared)
    account.drop(ClusterReason.OTHER_CLUSTER, told.pairs - told.shared)
    return account


STAGE = Stage(
    name="cluster",
    reads=(EMBEDDINGS, IMAGES),
    writes=(COPIES, SEMANTICS),
    config=ClusterSection,
    build=build,
    folders=(_FOLDER, _SAMPLE),
)
