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
from pipeline.core.errors import ConfigError, PairmillError
from pipeline.core.progress import watch
from pipeline.core.reasons import MatchReason, MatchRule, Status
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import IMAGES, LISTED, NEIGHBORS, RELEASED_NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.turns import FIRST_SIDEWAYS, TURNS
from pipeline.match.audit import audit
from pipeline.match.blocks import BlockPlan, Work, choose_plan
from pipeline.match.candidates import (
    candidate_pairs,
    pairs_of,
    search,
    whole_pieces,
    work_of,
)
from pipeline.match.lists import ListSection
from pipeline.match.radius import random_neighbours, refuse_unsafe
from pipeline.match.tables import NODES
from pipeline.match.turned import new_edges, turned_halves, turned_nodes
from pipeline.match.verify import VERIFIED_SCHEMA, verify
from pipeline.stages import guarding, match_passes

MAX_RADIUS = 6


class MatchSection(StageSection):
    """`[match]`.

    Pictures below `download.min_texture` are not searched: flat ones share hashes by construction,
    and there their fingerprint is the received bytes' alone. The other defaults are chosen on 1,468
    photographs altered in 18 ways and on 519 pictures of public archives, so that no two different
    ones are edges; the tables are in docs/measurements.md, made by `make bench W=match-attacks`.

    radius: bits of hash64 that near-duplicates may differ in, inclusive. As many bits are set as
        not, so that distances are even but for ties. 4 is safe for ten billion pictures. 6 is for a
        billion, and finds 86% of the copies with a logo instead of 72%, 92% of those with a line of
        text instead of 81%, 97% of brighter ones instead of 88%, by 84 tables instead of 15.
    radius256: bits of hash256 (PDQ), inclusive. Of the pairs within a radius of 6, no two different
        photographs are closer than 90, but two maps drawn on one sheet are 50 apart; from 48 to 64
        hardly anything but 5% crops is gained. PDQ's authors use 31 (Facebook, "The TMK+PDQF
        Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019), which finds a tenth
        less of what was reduced to a quarter of its side.
    aspect_tolerance: relative difference of width / height that is still the same shape. Crops to
        80% and borders of 5% stay within 0.1.
    turned: whether mirror images and turned pictures (by 90, 180 and 270 degrees) are edges too. It
        needs `download.turned_hashes`, and multiplies the cost of the search.
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
    turned: bool = False
    bucket_cap: int = tuning(4096, ge=2)
    audit_rows: int = tuning(1000, ge=0)
    max_random_neighbours: float = tuning(0.02, gt=0)
    # Of these the identity holds what they are, not where: see `guarding.check`.
    registry: str = tuning("")
    lists: dict[str, ListSection] = tuning({})


def build(ctx: Context[MatchSection]) -> list[Account]:
    """Write `neighbors`. Raises ConfigError for an unsafe radius, PairmillError for a lost pair."""
    config, spark, store = ctx.config, ctx.spark, ctx.store
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    with watch(spark, "match: search"), whole_pieces(spark):
        pictures = ctx.read(IMAGES).where(F.col("status") == Status.OK.value)
        if config.turned:
            require_turned_hashes(pictures)
        buckets = match_passes.buckets_for(pictures.count())
        seen, searched, counted = match_passes.write_nodes(
            ctx, pictures, buckets, download.min_texture
        )
        met = counted.kept * (1 + len(TURNS)) if config.turned else counted.kept
        refuse_unsafe(met, config.radius, config.max_random_neighbours, widest=MAX_RADIUS)
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
        accounts.append(pair_account("candidate_pairs", judged))
        edges = as_edges(judged.where(F.col("reason").isNull()), MatchRule.PERCEPTUAL)
        if config.turned:
            turned, account = turned_edges(ctx, pictures, buckets, counted.kept, edges)
            accounts.append(account)
            edges = edges.unionByName(as_edges(turned, MatchRule.TURNED))
    ctx.write(NEIGHBORS, edges)
    judged.unpersist()
    found.unpersist()
    store.remove(NODES.name)
    accounts += guarding.write(ctx, pictures, seen.kept)
    return accounts


def turned_edges(
    ctx: Context[MatchSection], pictures: DataFrame, buckets: int, distinct: int, edges: DataFrame
) -> tuple[DataFrame, Account]:
    """Pairs of a picture and another turned that are not among `edges`, kept on disk."""
    config, store = ctx.config, ctx.store
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    turned = turned_nodes(pictures, download.min_texture, FIRST_SIDEWAYS)
    asked = distinct * (1 + len(TURNS))
    pairs = candidate_pairs(
        match_passes.hashes(ctx.spark, store),
        choose_plan(asked, config.radius),
        config.bucket_cap,
        asked,
        queries=turned.select("hash64").distinct(),
    )
    met = match_passes.second_pairs(store, buckets, turned_halves(turned, pairs))
    # A picture that looks like its own mirror image is no pair with itself.
    judged = (
        met.where(F.col("fingerprint_a") != F.col("fingerprint_b"))
        .mapInArrow(
            partial(verify, radius256=config.radius256, aspect_tolerance=config.aspect_tolerance),
            VERIFIED_SCHEMA,
        )
        .persist(StorageLevel.DISK_ONLY)
    )
    account = pair_account("turned_pairs", judged)
    found = new_edges(judged, edges).persist(StorageLevel.DISK_ONLY)
    new = found.count()
    account.dropped[MatchReason.SAME_PAIR] = account.kept - new
    account.kept = new
    judged.unpersist()
    return found, account


def as_edges(pairs: DataFrame, rule: MatchRule) -> DataFrame:
    """Accepted pairs as rows of NEIGHBORS."""
    columns = ("fingerprint_a", "fingerprint_b", "distance", "distance256")
    return pairs.select(*columns, F.lit(rule.value).alias("rule"))


def require_turned_hashes(pictures: DataFrame) -> None:
    """ConfigError unless the download stored them of every picture."""
    missing = pictures.where(F.col("turned64").isNull()).count()
    if missing:
        raise ConfigError(
            f"match.turned = true: {missing:,} pictures have no turned hashes; they are stored by "
            "a download with download.turned_hashes = true"
        )


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


def pair_account(unit: str, judged: DataFrame) -> Account:
    """Judged pairs by what became of them."""
    account = Account(unit)
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
    folders=(NODES.name,),
    check=guarding.check,
)
