"""`dedupe`: pairs -> candidates, by image, with every distinct caption and what it is counted by.

Four passes, each linear in the pairs; texts cross the shuffle once, keys three times:

1. `pairs` is read, once, piece by piece: equal pairs of a piece become one; texts (ROWS) and keys
   (KEYS) are written. Nothing is shuffled.
2. Keys by image: distinct pages and domains, the cap on captions, the registry. -> COUNTS
3. Keys by the caption's pattern, so that equal captions meet: on how many images and domains it is,
   and how many captions of its pattern are beside it; then back to where the texts lie, which
   are picked up there and sent to the part they belong to.
4. By part: captions of an image into its row, in order.

An image or caption with very many rows does not meet in one task: see `dedupe_heavy`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import fsspec
from pydantic import Field

from pipeline.core.accounts import Account, merge
from pipeline.core.context import Context
from pipeline.core.errors import ContractError, InputError
from pipeline.core.progress import watch
from pipeline.core.reasons import DropReason
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.tables import CANDIDATES, PAIRS
from pipeline.dedupe.tables import COUNTS, KEYS, ROWS
from pipeline.match import registry
from pipeline.stages import dedupe_heavy, dedupe_passes
from pipeline.stages.dedupe_passes import HEAVY_COUNTS, Plan

# Pairs that are put in order at a time when candidates are written: some 90 MB.
_SECTION_PAIRS = 200_000
# A key with more rows than this share of a bucket is counted apart.
_HEAVY_SHARE = 1 / 8


class DedupeSection(StageSection):
    """`[dedupe]`: how the candidates are bucketed, and what earlier crawls hold."""

    # Buckets that are downloaded, stored and scored together.
    parts: int = Field(default=16, ge=1, le=1_000_000)
    # A domain with more images is spread over all parts.
    giant_domain_images: int = Field(default=100_000, ge=1)
    # Captions kept of one image: those on most pages. A placeholder has millions.
    max_captions_per_image: int = Field(default=1000, ge=1)
    # Parquet with an `image_id` column, or a registry that `make register` grows: images that
    # earlier crawls hold are dropped.
    registry: str = ""
    # Keys that are counted together, some 100 bytes each in a task and as much again to sort.
    bucket_rows: int = tuning(1_000_000, ge=16)


def registry_files(section: DedupeSection) -> list[str]:
    """The registry's files, sorted. Raises InputError when it has none."""
    if registry.is_registry(section.registry):
        held = registry.load(section.registry, "dedupe.registry")
        return [
            held.store.path(file)
            for release in held.releases
            for file in release.files(registry.IMAGES_TABLE)
        ]
    fs, path = fsspec.core.url_to_fs(section.registry)
    if not fs.exists(path):
        raise InputError(f"no registry at dedupe.registry = {section.registry}")
    files = sorted(str(f) for f in fs.find(path) if f.endswith(".parquet"))
    if not files:
        raise InputError(f"dedupe.registry = {section.registry} holds no .parquet file")
    return [fs.unstrip_protocol(f) for f in files]


def check(section: DedupeSection) -> object:
    """The registry's identity. Raises InputError when it is not there."""
    if not section.registry:
        return None
    if registry.is_registry(section.registry):
        held = registry.load(section.registry, "dedupe.registry")
        return [release.id for release in held.releases]
    found = {}
    for file in registry_files(section):
        fs, path = fsspec.core.url_to_fs(file)
        found[file.rpartition("/")[2]] = fs.size(path)
    return found


def build(ctx: Context[DedupeSection]) -> list[Account]:
    """Reduce, count by image, count by caption, write; what is in between is removed."""
    config, store = ctx.config, ctx.store
    ctx.read(PAIRS)  # refuses other columns; the rows are read by the tasks
    sources = dedupe_passes.sources(store)
    read = merge(
        ctx.run_parts(KEYS, partial(dedupe_passes.reduce_part, store), list(enumerate(sources)))
    )
    rows = {a.unit: a for a in read}
    keys = rows["keys"].kept if "keys" in rows else 0
    files = registry_files(config) if config.registry else []
    buckets = max(1, -(-keys // config.bucket_rows))
    plan = Plan(
        store, config.max_captions_per_image, config.parts, buckets, len(sources), registry=files
    )
    limit = max(1, int(config.bucket_rows * _HEAVY_SHARE))
    with _setting(ctx, buckets), watch(ctx.spark, f"{ctx.stage}: {CANDIDATES.name}"):
        heavy = dedupe_heavy.Keys(ctx, KEYS, limit)
        plan = replace(plan, heavy_images=heavy.images(), heavy_patterns=heavy.patterns())
        accounts = [*read, *dedupe_passes.count_images(ctx, plan, heavy)]
        counts = dedupe_passes.counts_files(store)
        totals, giants = dedupe_heavy.totals(ctx, counts, config.giant_domain_images)
        sections = max(1, -(-totals.pairs // (config.parts * _SECTION_PAIRS)))
        plan = replace(plan, giants=giants, sections=sections)
        images, pairs = dedupe_passes.write(ctx, plan, counts, limit)
    if (images, pairs) != (totals.images, totals.pairs):
        raise ContractError(f"{pairs} pairs of {images} images written, not {totals}")
    for name in _BETWEEN:
        store.remove(name)
    return _accounts(accounts, images, pairs)


@contextmanager
def _setting(ctx: Context[DedupeSection], buckets: int) -> Iterator[None]:
    """Shuffles as wide as the keys need, and Python given a few pieces at a time."""
    wanted = {
        "spark.sql.shuffle.partitions": str(max(buckets, 2)),
        "spark.sql.execution.arrow.maxBytesPerBatch": str(16 << 20),
    }
    before = {name: str(ctx.spark.conf.get(name)) for name in wanted}
    try:
        for name, value in wanted.items():
            ctx.spark.conf.set(name, value)
        yield
    finally:
        for name, value in before.items():
            ctx.spark.conf.set(name, value)


def _accounts(counted: list[Account], images_kept: int, pairs_kept: int) -> list[Account]:
    """pairs: in = rows of PAIRS, kept = captions of candidates. images: kept = candidates."""
    found = {a.unit: a for a in merge(counted)}
    rows = found.get("rows", Account("rows"))
    images, pairs = (found.get(u, Account(u)) for u in ("images", "pairs"))
    images.keep(images_kept)
    pairs.keep(pairs_kept)
    pairs.drop(DropReason.NO_CAPTION, rows.dropped[DropReason.NO_CAPTION])
    pairs.drop(DropReason.DUPLICATE_PAIR, rows.rows_in - pairs.rows_in)
    return [pairs, images]


_BETWEEN = (KEYS.name, ROWS.name, COUNTS.name, HEAVY_COUNTS)

STAGE = Stage(
    "dedupe",
    reads=(PAIRS,),
    writes=(CANDIDATES,),
    config=DedupeSection,
    build=build,
    folders=_BETWEEN,
    check=check,
)
