"""`match`: near-duplicate pictures, by an exact search within a Hamming radius.

Nodes are distinct fingerprints. Those with texture meet in block tables by their 64-bit hash; a
pair is an edge when the 256-bit hash and the shape agree too. Cost: tables x hashes rows of 16
bytes through one shuffle, and the comparisons inside buckets, both weighed by `choose_plan`.
"""

from functools import partial

import structlog
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import PairmillError
from pipeline.core.progress import watch
from pipeline.core.reasons import MatchReason, MatchRule, Status
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import IMAGES, LISTED, NEIGHBORS, RELEASED_NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.match.audit import audit
from pipeline.match.blocks import choose_plan
from pipeline.match.candidates import candidate_pairs
from pipeline.match.lists import ListSection
from pipeline.match.radius import refuse_unsafe
from pipeline.match.verify import VERIFIED_SCHEMA, node_pairs, verify
from pipeline.stages import guarding

MAX_RADIUS = 6
_ROWS_PER_TASK = 100_000


class MatchSection(StageSection):
    """`[match]`.

    Pictures below `download.min_texture` are not searched: flat ones share hashes by construction,
    and there their fingerprint is the received bytes' alone.

    radius: bits of hash64 that near-duplicates may differ in, inclusive. 4 finds every one of 350
        photographs again after resizing to 50% and 25% and recompression to JPEG quality 30.
    radius256: bits of hash256 (PDQ), inclusive. Measured on 759 photographs: at most 44 after those
        changes (99% within 36), 56 after cropping 2% (99% within 38); two different photographs
        (287,661 pairs) are at least 70 apart. PDQ's authors use 31 (Facebook, "The TMK+PDQF
        Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019), for copies that are
        not reduced below the size it hashes.
    aspect_tolerance: relative difference of width / height that is still the same shape.
    bucket_cap: rows of a bucket above which it is cut again; changes speed only.
    audit_rows: hashes that are searched by brute force to check the search; 0 for none.
    max_random_neighbours: the radius is refused when more unrelated hashes are expected within it
        of each.
    registry: folder of pictures that earlier releases hold (`make register` adds to it).
    lists: block lists and evaluation sets by name, see `ListSection`.
    """

    radius: int = Field(default=4, ge=0, le=MAX_RADIUS)
    radius256: int = Field(default=48, ge=0, le=256)
    aspect_tolerance: float = Field(default=0.1, ge=0)
    bucket_cap: int = tuning(4096, ge=2)
    audit_rows: int = tuning(1000, ge=0)
    max_random_neighbours: float = tuning(0.02, gt=0)
    # Of these the identity holds what they are, not where: see `guarding.check`.
    registry: str = tuning("")
    lists: dict[str, ListSection] = tuning({})


def build(ctx: Context[MatchSection]) -> list[Account]:
    """Write `neighbors`. Raises ConfigError for an unsafe radius, PairmillError for a lost pair."""
    config = ctx.config
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    with watch(ctx.spark, "match: search"):
        pictures = ctx.read(IMAGES).where(F.col("status") == Status.OK.value)
        total = pictures.count()
        tasks = _tasks(ctx.spark, total)
        nodes = distinct_pictures(pictures).coalesce(tasks).persist()
        searched = nodes.where(F.col("texture") >= download.min_texture)
        hashes = searched.select("hash64").distinct().coalesce(tasks).persist()
        distinct = hashes.count()
        accounts, searched_rows = _picture_accounts(total, nodes, download.min_texture)
        expected = refuse_unsafe(
            distinct, config.radius, config.max_random_neighbours, widest=MAX_RADIUS
        )
        plan = choose_plan(distinct, config.radius)
        structlog.get_logger().info(
            "planned",
            hashes=distinct,
            radius=config.radius,
            blocks=plan.blocks,
            tables=len(plan.masks),
            expected_comparisons=plan.comparisons(distinct),
            expected_core_seconds=plan.seconds(distinct),
            expected_random_neighbours=expected,
        )
        tasks = _tasks(ctx.spark, distinct * len(plan.masks))
        pairs = candidate_pairs(hashes, plan, config.bucket_cap, tasks).persist()
        if config.audit_rows:
            accounts.append(_audited(ctx, hashes, pairs))
        judged = (
            node_pairs(searched, pairs, has_equal_hashes=searched_rows > distinct)
            .mapInArrow(
                partial(
                    verify,
                    radius256=config.radius256,
                    aspect_tolerance=config.aspect_tolerance,
                ),
                VERIFIED_SCHEMA,
            )
            .persist()
        )
        accounts.append(_pair_account(judged))
    edges = judged.where(F.col("reason").isNull())
    ctx.write(NEIGHBORS, edges.withColumn("rule", F.lit(MatchRule.PERCEPTUAL.value)))
    accounts += guarding.write(ctx, pictures, nodes, accounts[0].kept)
    for kept in (judged, pairs, hashes, nodes):
        kept.unpersist()
    return accounts


def distinct_pictures(pictures: DataFrame) -> DataFrame:
    """One node per fingerprint: hash64, hash256, texture, aspect (width / height, upright).

    Pictures of one fingerprint agree in all of these but for rounding; the smallest is taken.
    """
    aspect = F.col("original_width") / F.col("original_height")
    return pictures.groupBy("fingerprint").agg(
        F.min("hash64").alias("hash64"),
        F.min("hash256").alias("hash256"),
        F.min("texture").alias("texture"),
        F.min(aspect).alias("aspect"),
    )


def _tasks(spark: SparkSession, rows: int) -> int:
    """Partitions for so many rows: few for few, since each costs a task with a Python worker."""
    most = int(spark.conf.get("spark.sql.shuffle.partitions") or 1)
    return min(most, -(-rows // _ROWS_PER_TASK)) or 1


def _picture_accounts(total: int, nodes: DataFrame, min_texture: int) -> tuple[list[Account], int]:
    """Accounts of all `total` pictures and of nodes, and how many nodes are searched."""
    counts = nodes.agg(
        F.count("*").alias("nodes"),
        F.count(F.when(F.col("texture") >= min_texture, 1)).alias("searched"),
    ).first()
    assert counts is not None  # an aggregate without groups has one row
    seen, searched = Account("pictures"), Account("searched_pictures")
    seen.keep(counts["nodes"])
    if repeats := total - counts["nodes"]:
        seen.drop(MatchReason.SAME_FINGERPRINT, repeats)
    searched.keep(counts["searched"])
    if flat := counts["nodes"] - counts["searched"]:
        searched.drop(MatchReason.LOW_TEXTURE, flat)
    return [seen, searched], counts["searched"]


def _audited(ctx: Context[MatchSection], hashes: DataFrame, pairs: DataFrame) -> Account:
    run = ctx.sections["run"]
    assert isinstance(run, RunSection)
    account = audit(hashes, pairs, ctx.config.radius, ctx.config.audit_rows, run.seed)
    if missed := account.dropped.total():
        raise PairmillError(
            f"match: the audit of {ctx.config.audit_rows} hashes found {missed} of "
            f"{account.rows_in} neighbours missing from the search (recall "
            f"{account.kept / account.rows_in:.6f}, expected 1); this is a bug, nothing was written"
        )
    return account


def _pair_account(judged: DataFrame) -> Account:
    account = Account("candidate_pairs")
    for row in sorted(judged.groupBy("reason").count().collect(), key=lambda r: r[0] or ""):
        if row["reason"] is None:
            account.keep(row["count"])
        else:
            account.drop(row["reason"], row["count"])
    return account


STAGE = Stage(
    name="match",
    reads=(IMAGES,),
    writes=(NEIGHBORS, RELEASED_NEIGHBORS, LISTED),
    config=MatchSection,
    build=build,
    check=guarding.check,
)
