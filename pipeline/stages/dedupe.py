"""`dedupe`: pairs -> candidates, by image, in SQL alone. Grows with the shuffle of the pairs."""

import fsspec
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.reasons import DropReason
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import CANDIDATES, CAPTION, PAIRS


class DedupeSection(StageSection):
    """`[dedupe]`: how the candidates are bucketed, and what earlier crawls hold."""

    # Buckets that are downloaded, stored and scored together.
    parts: int = Field(default=16, ge=1, le=1_000_000)
    # A domain with more images (estimated within some 5%) is spread over all parts.
    giant_domain_images: int = Field(default=100_000, ge=1)
    # Parquet with an `image_id` column: images that earlier crawls hold are dropped.
    registry: str = ""


def check(section: DedupeSection) -> object:
    """The registry's identity. Raises InputError when it is not there."""
    if not section.registry:
        return None
    fs, path = fsspec.core.url_to_fs(section.registry)
    if not fs.exists(path):
        raise InputError(f"no registry at dedupe.registry = {section.registry}")
    files = sorted(f for f in fs.find(path) if f.endswith(".parquet"))
    if not files:
        raise InputError(f"dedupe.registry = {section.registry} holds no .parquet file")
    return {f.rpartition("/")[2]: fs.size(f) for f in files}


def by_pair(pairs: DataFrame) -> DataFrame:
    """One row per distinct (image, caption), with the number of pages it is on."""
    firsts = [
        F.min(name).alias(name)
        for name in ("url", "canonical_url", "domain", "caption", "caption_kind", "page_optout")
    ]
    page = F.struct("page_domain", "page_lang")
    per_page = pairs.groupBy("image_id", "pair_id", "page_url").agg(
        *firsts, F.min(page).alias("page")
    )
    first_page = F.min(F.struct("page_url", "page")).alias("first_page")
    return per_page.groupBy("image_id", "pair_id").agg(
        *firsts, first_page, F.count(F.lit(1)).alias("pages")
    )


def with_caption_images(distinct: DataFrame) -> DataFrame:
    """Adds how many distinct images carry each caption.

    Counted and joined by the caption's MD5: 16 bytes in the shuffle instead of the text.
    """
    keyed = distinct.withColumn("caption_key", F.unhex(F.md5("caption")))
    # Most captions are on one image: only the others need to be joined.
    counts = (
        keyed.groupBy("caption_key")
        .agg(F.count(F.lit(1)).alias("caption_images"))
        .where("caption_images > 1")
    )
    joined = keyed.join(counts, "caption_key", "left")
    return joined.withColumn("caption_images", F.coalesce("caption_images", F.lit(1).cast("long")))


def by_image(distinct: DataFrame) -> DataFrame:
    """One row per image, its captions in one array ordered by pair_id."""
    values = {
        "page_url": F.col("first_page.page_url"),
        "page_domain": F.col("first_page.page.page_domain"),
        "page_lang": F.col("first_page.page.page_lang"),
    }
    caption = F.struct(*(values.get(f.name, F.col(f.name)).alias(f.name) for f in CAPTION))
    firsts = [F.min(n).alias(n) for n in ("url", "canonical_url", "domain", "page_optout")]
    return distinct.groupBy("image_id").agg(
        *firsts, F.sort_array(F.collect_list(caption)).alias("captions")
    )


def giant_domains(pairs: DataFrame, images: int) -> list[str]:
    """Domains with more than about `images` images. HyperLogLog: the same in any order."""
    counts = pairs.groupBy("domain").agg(F.approx_count_distinct("image_id", 0.05).alias("n"))
    return sorted(row.domain for row in counts.where(F.col("n") > images).collect())


def bucketed(images: DataFrame, parts: int, giants: list[str]) -> DataFrame:
    """Adds `part`: by registrable domain, so that a host is met by one task; giants by image."""
    by_domain = F.xxhash64("domain")
    key = F.when(F.col("domain").isin(giants), F.xxhash64("image_id")).otherwise(by_domain)
    return images.withColumn("part", F.pmod(key if giants else by_domain, F.lit(parts)).cast("int"))


def build(ctx: Context[DedupeSection]) -> list[Account]:
    """Group, bucket, write; one file per part, rows ordered by image_id."""
    config = ctx.config
    pairs = ctx.read(PAIRS)
    new = pairs
    if config.registry:
        known = ctx.spark.read.parquet(config.registry).select("image_id").distinct()
        new = pairs.join(known, "image_id", "left_anti")
    images = by_image(with_caption_images(by_pair(new)))
    giants = giant_domains(new, config.giant_domain_images)
    rows = (
        bucketed(images, config.parts, giants)
        .repartition(config.parts, "part")
        .sortWithinPartitions("part", "image_id")
    )
    candidates = ctx.write(CANDIDATES, rows)
    held = _held(pairs, known) if config.registry else (0, 0)
    return _accounts(ctx, pairs.count(), candidates, held)


def _held(pairs: DataFrame, known: DataFrame) -> tuple[int, int]:
    """(images, distinct pairs) that the registry holds already."""
    held = pairs.join(known, "image_id", "left_semi").select("image_id", "pair_id").distinct()
    per_image = held.groupBy("image_id").count()
    row = per_image.agg(F.count(F.lit(1)).alias("images"), F.sum("count").alias("pairs")).first()
    return (row["images"], row["pairs"] or 0) if row else (0, 0)


def _accounts(
    ctx: Context[DedupeSection], rows_in: int, candidates: int, held: tuple[int, int]
) -> list[Account]:
    """pairs: in = rows of PAIRS, kept = distinct (image, caption). images: kept = candidates."""
    kept_row = ctx.read(CANDIDATES).agg(F.sum(F.size("captions")).alias("n")).first()
    kept = (kept_row["n"] or 0) if kept_row else 0
    held_images, held_pairs = held
    pairs, images = Account("pairs"), Account("images")
    pairs.keep(kept)
    images.keep(candidates)
    pairs.drop(DropReason.REGISTERED, held_pairs)
    images.drop(DropReason.REGISTERED, held_images)
    pairs.drop(DropReason.DUPLICATE_PAIR, rows_in - kept - held_pairs)
    return [pairs, images]


STAGE = Stage(
    "dedupe",
    reads=(PAIRS,),
    writes=(CANDIDATES,),
    config=DedupeSection,
    build=build,
    check=check,
)
