"""What `match` does beside near-duplicates: earlier releases, evaluation sets and block lists."""

from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.progress import watch
from pipeline.core.reasons import MatchReason
from pipeline.core.tables import LISTED, RELEASED_NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.match import lists, registry
from pipeline.match.listed import Guard, listed
from pipeline.match.released import Search, range_bits, released_neighbors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.stages.match import MatchSection


def check(section: "MatchSection") -> dict[str, Any]:
    """Identity of the registry and of the lists, whose entries are all read once here.

    Raises InputError when one is missing, damaged or of another hash version.
    """
    outside: dict[str, Any] = {}
    if section.registry:
        held = registry.load(section.registry)
        outside["registry"] = [release.id for release in held.releases]
    for name, source in section.lists.items():
        lists.read(name, source)
        outside.setdefault("lists", {})[name] = lists.identity(name, source)
    return outside


def distinct_pictures(pictures: DataFrame) -> DataFrame:
    """One row per fingerprint: hash64, hash256, texture, aspect (width / height, upright).

    Pictures of one fingerprint agree in all of these but for rounding; the smallest is taken.
    """
    aspect = F.col("original_width") / F.col("original_height")
    return pictures.groupBy("fingerprint").agg(
        *(F.min(name).alias(name) for name in ("hash64", "hash256", "texture")),
        F.min(aspect).alias("aspect"),
    )


def write(ctx: "Context[MatchSection]", pictures: DataFrame, new: int) -> list[Account]:
    """Write RELEASED_NEIGHBORS and LISTED, empty without a registry and lists; their accounts.

    pictures: rows of IMAGES that are ok, of `new` fingerprints.
    Raises ConfigError when a list has MD5 digests, and the pictures have none.
    """
    accounts = []
    nodes = distinct_pictures(pictures)
    with watch(ctx.spark, "match: registry"):
        held = registry.load(ctx.config.registry) if ctx.config.registry else None
        known = _released(ctx, nodes, new, held)
        released = ctx.write(RELEASED_NEIGHBORS, known)
    if held is not None:
        account = Account("new_pictures")
        account.keep(new - released)
        account.drop(MatchReason.RELEASED, released)
        accounts.append(account)
    with watch(ctx.spark, "match: lists"):
        guards = _guards(ctx)
        _require_md5(guards, pictures)
        rows = listed(pictures, nodes, guards) if guards else _empty(ctx.spark, LISTED)
        ctx.write(LISTED, rows)
    if guards:
        accounts.append(_listed_account(ctx, new))
    return accounts


def _empty(spark: "SparkSession", table: Any) -> DataFrame:
    from pyspark.sql.pandas.types import from_arrow_schema

    return spark.createDataFrame([], from_arrow_schema(table.schema))


def _min_texture(ctx: "Context[MatchSection]") -> int:
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    return download.min_texture


def _released(
    ctx: "Context[MatchSection]", nodes: DataFrame, new: int, held: registry.Registry | None
) -> DataFrame:
    if held is None or not held.releases:
        return _empty(ctx.spark, RELEASED_NEIGHBORS)
    config = ctx.config
    bits = range_bits(new, held.pictures)
    search = Search(held, config.radius, _min_texture(ctx), bits)
    return released_neighbors(nodes, search, config.radius256, config.aspect_tolerance)


def _guards(ctx: "Context[MatchSection]") -> tuple[Guard, ...]:
    config = ctx.config
    return tuple(
        Guard(
            name,
            section,
            lists.read(name, section),
            config.radius256,
            config.aspect_tolerance,
            _min_texture(ctx),
        )
        for name, section in config.lists.items()
    )


def _require_md5(guards: tuple[Guard, ...], pictures: DataFrame) -> None:
    """Refuse a list that only MD5 can answer for pictures without one."""
    # A hash pack has every digest; there the others do.
    names = [g.name for g in guards if len(g.entries.md5) > len(g.entries.sha256)]
    if not names:
        return
    without = pictures.where(F.col("md5").isNull()).count()
    if without:
        raise ConfigError(
            f"match.lists.{names[0]} holds MD5 digests, but {without:,} pictures have none: set "
            "download.md5 = true and download again (--redo), or leave the list out"
        )


def _listed_account(ctx: "Context[MatchSection]", pictures: int) -> Account:
    """Distinct pictures: kept are those that no list names."""
    account = Account("unlisted_pictures")
    # One row for a picture that several lists name: a block is the stronger.
    kinds = ctx.read(LISTED).groupBy("fingerprint").agg(F.min("kind").alias("kind")).groupBy("kind")
    counts = {row["kind"]: row["count"] for row in kinds.count().collect()}
    for kind, reason in (
        ("block", MatchReason.BLOCKED),
        ("evaluation", MatchReason.EVALUATION_MATCH),
    ):
        if counts.get(kind):
            account.drop(reason, counts[kind])
    account.keep(pictures - sum(counts.values()))
    return account
