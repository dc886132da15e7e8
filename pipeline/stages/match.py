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
from pipeline.core.errors import ConfigError, PairmillError
from pipeline.core.progress import watch
from pipeline.core.reasons import MatchReason, MatchRule, Status
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import IMAGES, NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.turns import FIRST_SIDEWAYS, TURNS
from pipeline.match.audit import audit
from pipeline.match.blocks import choose_plan
from pipeline.match.candidates import candidate_pairs
from pipeline.match.radius import refuse_unsafe
from pipeline.match.turned import new_edges, query_pairs, turned_nodes, turned_pairs
from pipeline.match.verify import VERIFIED_SCHEMA, node_pairs, verify

MAX_RADIUS = 6
_ROWS_PER_TASK = 100_000


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
    """

    radius: int = Field(default=4, ge=0, le=MAX_RADIUS)
    radius256: int = Field(default=48, ge=0, le=256)
    aspect_tolerance: float = Field(default=0.1, ge=0)
    turned: bool = False
    bucket_cap: int = tuning(4096, ge=2)
    audit_rows: int = tuning(1000, ge=0)
    max_random_neighbours: float = tuning(0.02, gt=0)


def build(ctx: Context[MatchSection]) -> list[Account]:
    """Write `neighbors`. Raises ConfigError for an unsafe radius, PairmillError for a lost pair."""
    config = ctx.config
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    with watch(ctx.spark, "match: search"):
        pictures = ctx.read(IMAGES).where(F.col("status") == Status.OK.value)
        total = pictures.count()
        tasks = _tasks(ctx.spark, total)
        nodes = distinct_pictures(pictures, config.turned).coalesce(tasks).persist()
        searched = nodes.where(F.col("texture") >= download.min_texture)
        if config.turned:
            _require_turned_hashes(searched)
        hashes = searched.select("hash64").distinct().coalesce(tasks).persist()
        distinct = hashes.count()
        accounts, searched_rows = _picture_accounts(total, nodes, download.min_texture)
        met = distinct * (1 + len(TURNS)) if config.turned else distinct
        expected = refuse_unsafe(
            met, config.radius, config.max_random_neighbours, widest=MAX_RADIUS
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
        judged = _judge(
            node_pairs(searched, pairs, has_equal_hashes=searched_rows > distinct), config
        ).persist()
        accounts.append(_pair_account("candidate_pairs", judged))
        edges = _edges(judged.where(F.col("reason").isNull()), MatchRule.PERCEPTUAL)
        kept = [judged, pairs, hashes, nodes]
        if config.turned:
            turned, account = _turned_edges(ctx, searched, hashes, distinct, edges)
            accounts.append(account)
            kept.append(turned)
            edges = edges.unionByName(_edges(turned, MatchRule.TURNED))
    ctx.write(NEIGHBORS, edges)
    for frame in kept:
        frame.unpersist()
    return accounts


def distinct_pictures(pictures: DataFrame, with_turned: bool = False) -> DataFrame:
    """One node per fingerprint: hash64, hash256, texture, aspect (width / height, upright); asked
    for them, turned64 and turned256 too.

    Pictures of one fingerprint agree in all of these but for rounding; the smallest is taken.
    """
    aspect = F.col("original_width") / F.col("original_height")
    found = [
        F.min("hash64").alias("hash64"),
        F.min("hash256").alias("hash256"),
        F.min("texture").alias("texture"),
        F.min(aspect).alias("aspect"),
    ]
    if not with_turned:
        return pictures.groupBy("fingerprint").agg(*found)
    found.append(F.max(F.struct("turned64", "turned256")).alias("turned"))
    return pictures.groupBy("fingerprint").agg(*found).select("*", "turned.*").drop("turned")


def _judge(pairs: DataFrame, config: MatchSection) -> DataFrame:
    """Candidate pairs with what `verify` says of them."""
    judge = partial(verify, radius256=config.radius256, aspect_tolerance=config.aspect_tolerance)
    return pairs.mapInArrow(judge, VERIFIED_SCHEMA)


def _edges(pairs: DataFrame, rule: MatchRule) -> DataFrame:
    columns = ("fingerprint_a", "fingerprint_b", "distance", "distance256")
    return pairs.select(*columns, F.lit(rule.value).alias("rule"))


def _require_turned_hashes(searched: DataFrame) -> None:
    """ConfigError unless the download stored them of every picture that is searched."""
    missing = searched.where(F.col("turned64").isNull()).count()
    if missing:
        raise ConfigError(
            f"match.turned = true: {missing:,} pictures have no turned hashes; they are stored by "
            "a download with download.turned_hashes = true"
        )


def _turned_edges(
    ctx: Context[MatchSection],
    searched: DataFrame,
    hashes: DataFrame,
    distinct: int,
    edges: DataFrame,
) -> tuple[DataFrame, Account]:
    """Pairs of a picture and another turned that are not among `edges`, kept in memory."""
    config = ctx.config
    turned = turned_nodes(searched, FIRST_SIDEWAYS)
    queries = turned.select("hash64").distinct()
    asked = distinct * (1 + len(TURNS))
    plan = choose_plan(asked, config.radius)
    tasks = _tasks(ctx.spark, asked * len(plan.masks))
    pairs = query_pairs(queries, hashes, plan, config.bucket_cap, tasks)
    judged = _judge(turned_pairs(turned, searched, pairs), config).persist()
    account = _pair_account("turned_pairs", judged)
    found = new_edges(judged, edges).persist()
    new = found.count()
    account.dropped[MatchReason.SAME_PAIR] = account.kept - new
    account.kept = new
    judged.unpersist()
    return found, account


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


def _pair_account(unit: str, judged: DataFrame) -> Account:
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
    writes=(NEIGHBORS,),
    config=MatchSection,
    build=build,
)
