"""`match`: near-duplicate pictures, by an exact search within a Hamming radius.

Nodes are distinct fingerprints. Those with texture meet in block tables by their 64-bit hash; a
pair is an edge when the 256-bit hash and the shape agree too. Cost: tables x hashes x 8 bytes
through one shuffle, and the comparisons inside buckets, both weighed by `choose_plan`; besides,
pictures cross the shuffle once and pairs twice.

A task of the search holds the hashes of one unit, 4 million on average (`candidates.Spread`), and
all those of a key that is more frequent: 24 bytes each while they are sorted, 16 more for a bucket
that is cut again. Its time is bounded by what `blocks.inner_plan` expects: one key for a million
hashes, whose other bits are independent, takes a second.
"""

from functools import partial

import structlog
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import PairmillError
from pipeline.core.progress import watch
from pipeline.core.reasons import MatchRule, Status
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import IMAGES, NEIGHBORS, RELEASED_NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.match.audit import audit
from pipeline.match.blocks import BlockPlan, Work, choose_plan
from pipeline.match.candidates import pairs_of, search, whole_pieces, work_of
from pipeline.match.radius import random_neighbours, refuse_unsafe
from pipeline.match.tables import NODES
from pipeline.match.verify import VERIFIED_SCHEMA, verify
from pipeline.stages import match_passes

MAX_RADIUS = 6


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
    """

    radius: int = Field(default=4, ge=0, le=MAX_RADIUS)
    radius256: int = Field(default=48, ge=0, le=256)
    aspect_tolerance: float = Field(default=0.1, ge=0)
    bucket_cap: int = tuning(4096, ge=2)
    audit_rows: int = tuning(1000, ge=0)
    max_random_neighbours: float = tuning(0.02, gt=0)


def build(ctx: Context[MatchSection]) -> list[Account]:
    """Write `neighbors`. Raises ConfigError for an unsafe radius, PairmillError for a lost pair."""
    config, spark, store = ctx.config, ctx.spark, ctx.store
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    with watch(spark, "match: search"), whole_pieces(spark):
        pictures = ctx.read(IMAGES).where(F.col("status") == Status.OK.value)
        buckets = match_passes.buckets_for(pictures.count())
        seen, searched, counted = match_passes.write_nodes(
            store, pictures, buckets, download.min_texture
        )
        refuse_unsafe(counted.kept, config.radius, config.max_random_neighbours, widest=MAX_RADIUS)
        accounts = [seen, searched]
        hashes = match_passes.hashes(spark, store)
        plan = choose_plan(counted.kept, config.radius)
        _tell_plan(plan, counted.kept)
        found = search(hashes, plan, config.bucket_cap, counted.kept)
        found = found.persist(StorageLevel.DISK_ONLY)
        _tell_work(plan, counted.kept, work_of(found))
        if config.audit_rows:
            accounts.append(_audited(ctx, hashes, pairs_of(found)))
        close = match_passes.node_pairs(store, buckets, pairs_of(found))
        if searched.kept > counted.kept:
            close = close.unionByName(match_passes.equal_pairs(spark, store))
        judged = close.mapInArrow(
            partial(verify, radius256=config.radius256, aspect_tolerance=config.aspect_tolerance),
            VERIFIED_SCHEMA,
        ).persist(StorageLevel.DISK_ONLY)
        accounts.append(_pair_account(judged))
    edges = judged.where(F.col("reason").isNull())
    ctx.write(NEIGHBORS, edges.withColumn("rule", F.lit(MatchRule.PERCEPTUAL.value)))
    judged.unpersist()
    found.unpersist()
    store.remove(NODES.name)
    ctx.write(RELEASED_NEIGHBORS, ctx.from_arrow(RELEASED_NEIGHBORS.schema.empty_table()))
    return accounts


def _tell_plan(plan: BlockPlan, hashes: int) -> None:
    structlog.get_logger().info(
        "planned",
        hashes=hashes,
        radius=plan.radius,
        blocks=plan.blocks,
        agreeing_blocks=plan.agree,
        tables=len(plan.masks),
        comparisons=round(plan.comparisons(hashes)),
        shuffle_bytes=plan.shuffle_bytes(hashes),
        core_seconds=round(plan.seconds(hashes), 1),
        random_neighbours=random_neighbours(hashes, plan.radius),
    )


def _tell_work(plan: BlockPlan, hashes: int, work: Work) -> None:
    """What the search took beside what was expected; more where hashes crowd."""
    structlog.get_logger().info(
        "searched",
        hashes=hashes,
        comparisons=work.comparisons,
        expected_comparisons=round(plan.comparisons(hashes)),
        rows=work.rows,
        expected_rows=hashes * len(plan.masks),
        shuffle_bytes=work.sent_bytes,
        expected_shuffle_bytes=plan.shuffle_bytes(hashes),
    )


def _audited(ctx: Context[MatchSection], hashes: DataFrame, pairs: DataFrame) -> Account:
    run = ctx.sections["run"]
    assert isinstance(run, RunSection)
    account = audit(hashes, pairs, ctx.config.radius, ctx.config.audit_rows, run.seed)
    structlog.get_logger().info(
        "audited",
        hashes=ctx.config.audit_rows,
        neighbours=account.rows_in,
        recall=account.kept / account.rows_in if account.rows_in else 1.0,
    )
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
    writes=(NEIGHBORS, RELEASED_NEIGHBORS),
    config=MatchSection,
    build=build,
    folders=(NODES.name,),
)
