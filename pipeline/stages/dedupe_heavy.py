"""Images and captions with so many rows that no task may meet them all: a pixel, a placeholder.

What `pipeline.dedupe` does to a bucket at once is done here by Spark in steps, each of which counts
what is distinct by all of its keys first, in many tasks, and adds up then. Which keys are heavy is
estimated; it decides the way, not the result.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import spark_files
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.reasons import DropReason
from pipeline.core.tables import ID, Table
from pipeline.dedupe.tables import COUNTED, COUNTS, KEYS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# `place` of a row of KEYS that stands for an image of the registry.
REGISTERED_PLACE = -2
# Rows of a key in the sample that its weight is estimated from: good to some 10%.
_SAMPLED_ROWS = 128
_PAIR = ("image_hi", "image_lo", "pair")


class Totals(NamedTuple):
    """What COUNTS says that CANDIDATES will hold."""

    images: int
    pairs: int


def registered(name: str) -> Iterator[pa.RecordBatch]:
    """The images of a registry file as rows of KEYS with the place REGISTERED_PLACE."""
    from pipeline.dedupe.keys import halves

    with fsspec.open(name, "rb", cache_type="none").open() as file:
        for batch in pq.ParquetFile(file).iter_batches(1 << 20, columns=["image_id"]):
            hi, lo = halves(batch.column("image_id").cast(ID).drop_null())
            nothing: dict[str, Any] = {"image_hi": hi, "image_lo": lo}
            arrays = [
                pa.nulls(len(hi), f.type)
                if f.nullable
                else pa.array(nothing[f.name])
                if f.name in nothing
                else pa.repeat(
                    pa.scalar(REGISTERED_PLACE if f.name == "place" else 0, f.type), len(hi)
                )
                for f in KEYS.schema
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=KEYS.schema)


def totals(ctx: Context[Any], counts: Sequence[str], giant_images: int) -> tuple[Totals, list[int]]:
    """(what will be kept, keys of the domains with more than `giant_images` of it)."""
    from pyspark.sql import functions as F

    if not counts:
        return Totals(0, 0), []
    rows = _counted(ctx, counts).where("is_kept")
    by_domain = rows.groupBy("domain").agg(
        F.count_if("is_first").alias("images"), F.count(F.lit(1)).alias("pairs")
    )
    giants = F.array_sort(F.collect_list(F.when(F.col("images") > giant_images, F.col("domain"))))
    row = by_domain.agg(F.sum("images"), F.sum("pairs"), giants).collect()[0]
    return Totals(row[0] or 0, row[1] or 0), list(row[2])


def _counted(ctx: Context[Any], files: Sequence[str]) -> "DataFrame":
    return spark_files.read(ctx.spark, ctx.store, files, COUNTS.schema)


class Keys:
    """The table KEYS, and which of its keys have more than `limit` rows."""

    def __init__(self, ctx: Context[Any], table: Table, limit: int) -> None:
        files = list(ctx.store.committed(table).values())
        self._ctx = ctx
        self._limit = limit
        self._rows = spark_files.read(ctx.spark, ctx.store, files, KEYS.schema)

    def images(self) -> list[int]:
        """First halves of the ids of heavy images, sorted."""
        return self._heavy("image_hi", "true")

    def patterns(self) -> list[int]:
        """Hashes of the heavy patterns of captions, sorted."""
        return self._heavy("pattern", "place >= 0")

    def _heavy(self, key: str, condition: str) -> list[int]:
        from pyspark.sql import functions as F

        # Rows are taken by their hash: the same sample in any order and partitioning.
        bits = max(0, (self._limit // _SAMPLED_ROWS).bit_length() - 1)
        sample = self._rows.where(condition).where(F.expr(f"(row & {(1 << bits) - 1}) = 0"))
        counts = sample.groupBy(key).count().where(F.col("count") > self._limit >> bits)
        return sorted(row[key] for row in counts.select(key).collect())

    def count_images(
        self, heavy: Sequence[int], max_captions: int, registry: Sequence[str], folder: str
    ) -> list[Account]:
        """Write rows of COUNTS of the heavy images to `folder` of the run; accounts of what is
        dropped."""
        from pyspark import StorageLevel
        from pyspark.sql import functions as F

        keys = self._rows.join(self._frame(heavy, "image_hi"), "image_hi", "left_semi")
        images, pairs = Account("images"), Account("pairs")
        known = self._known(heavy, registry)
        if known is not None:
            held = keys.join(F.broadcast(known), ["image_hi", "image_lo"], "left_semi")
            images.drop(DropReason.REGISTERED, _distinct(held, "image_hi", "image_lo"))
            pairs.drop(DropReason.REGISTERED, _distinct(held.where("place >= 0"), *_PAIR))
            keys = keys.join(F.broadcast(known), ["image_hi", "image_lo"], "left_anti")
        by_domain = _by_domain(keys).persist(StorageLevel.DISK_ONLY)
        by_pair = _by_pair(by_domain).persist(StorageLevel.DISK_ONLY)
        kept = _kept(by_pair, max_captions).join(
            F.broadcast(_by_image(keys)), ["image_hi", "image_lo"]
        )
        rows = [
            _counts(kept, is_kept=F.lit(True)),
            _counts(by_pair, is_pair=F.lit(True)),
            _counts(by_domain, is_on_domain=F.lit(True)),
        ]
        found = rows[0].unionByName(rows[1]).unionByName(rows[2])
        store = self._ctx.store
        spark_files.write(store, folder, found)
        written = _counted(self._ctx, [store.path(folder)])
        row = written.agg(
            F.count_if("is_pair"), F.count_if("is_kept"), F.count_if("is_first")
        ).collect()[0]
        pairs.drop(DropReason.OVER_CAPTION_CAP, row[0] - row[1])
        images.drop(DropReason.NO_CAPTION, _distinct(keys, "image_hi", "image_lo") - row[2])
        by_domain.unpersist()
        by_pair.unpersist()
        return [images, pairs]

    def _frame(self, keys: Sequence[int], name: str) -> "DataFrame":
        from pyspark.sql import functions as F

        rows = self._ctx.from_arrow(pa.table({name: pa.array(keys, pa.int64())}))
        return F.broadcast(rows)

    def _known(self, heavy: Sequence[int], registry: Sequence[str]) -> "DataFrame | None":
        """Halves of the ids of heavy images that the registry holds; None without any."""
        from pipeline.stages import exchange

        if not registry:
            return None
        sent = exchange.source(self._ctx.spark, registry, partial(_registered_of, tuple(heavy)))
        rows = [
            pa.ipc.read_record_batch(pa.py_buffer(bytes(r["rows"])), _HALVES)
            for r in sent.collect()
        ]
        found = pa.Table.from_batches(rows, _HALVES)
        return self._ctx.from_arrow(found) if found.num_rows else None


_HALVES = pa.schema([KEYS.schema.field("image_hi"), KEYS.schema.field("image_lo")])


def _registered_of(heavy: Sequence[int], name: str) -> Iterator[Any]:
    import numpy as np

    from pipeline.dedupe.keys import contains
    from pipeline.stages.exchange import Piece

    for batch in registered(name):
        chosen = contains(np.array(heavy, np.int64), batch.column("image_hi").to_numpy())
        if chosen.any():
            yield Piece(0, 0, batch.select(_HALVES.names).filter(pa.array(chosen)))


def _distinct(rows: "DataFrame", *keys: str) -> int:
    return rows.select(*keys).distinct().count()


def _told(*names: str) -> list[Any]:
    """Of rows of one pair: the least `row`, and what it says in the columns of those names."""
    from pyspark.sql import functions as F

    return [
        F.min("row").alias("row"),
        *(F.min_by(name, "row").alias(name) for name in names),
        F.bit_or("kinds").alias("kinds"),
        F.min("caption").alias("caption"),
        F.min("pattern").alias("pattern"),
        F.min("domain").alias("domain"),
    ]


def _by_domain(keys: "DataFrame") -> "DataFrame":
    """One row per pair and domain, with the distinct pages there."""
    from pyspark.sql import functions as F

    by_page = keys.where("place >= 0").groupBy(*_PAIR, "page").agg(*_told("place", "page_domain"))
    return by_page.groupBy(*_PAIR, "page_domain").agg(
        *_told("place"), F.count(F.lit(1)).alias("pages")
    )


def _by_pair(by_domain: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as F

    return by_domain.groupBy(*_PAIR).agg(
        *_told("place", "page_domain"), F.sum("pages").alias("pages")
    )


def _kept(by_pair: "DataFrame", max_captions: int) -> "DataFrame":
    """The captions of each image that are on most pages; the first of them `is_first`."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    # Spark limits the groups before it sends them: no task gets all captions of an image.
    order = Window.partitionBy("image_hi", "image_lo").orderBy(F.desc("pages"), "pair")
    ranked = by_pair.withColumn("rank", F.row_number().over(order))
    return ranked.where(F.col("rank") <= max_captions).withColumn("is_first", F.col("rank") == 1)


def _by_image(keys: "DataFrame") -> "DataFrame":
    """One row per image: its distinct pages and page domains, its smallest opt-out."""
    from pyspark.sql import functions as F

    image = ("image_hi", "image_lo")
    by_page = keys.groupBy(*image, "page", "page_domain").agg(F.min("optout").alias("optout"))
    by_domain = by_page.groupBy(*image, "page_domain").agg(
        F.count(F.lit(1)).alias("pages"), F.min("optout").alias("optout")
    )
    return by_domain.groupBy(*image).agg(
        F.sum("pages").alias("image_pages"),
        F.count(F.lit(1)).alias("image_page_domains"),
        F.min("optout").alias("optout"),
    )


def _counts(rows: "DataFrame", **given: Any) -> "DataFrame":
    """Rows as rows of COUNTS; what they lack is false, 0 or null."""
    from pyspark.sql import functions as F

    columns = []
    for field in COUNTS.schema:
        value = given.get(field.name)
        if value is None and field.name in rows.columns:
            value = F.col(field.name)
        if value is None:
            nothing = None if field.nullable else False if field.type == pa.bool_() else 0
            value = F.lit(nothing)
        kind = {pa.bool_(): "boolean", pa.int32(): "int", pa.string(): "string"}
        columns.append(value.cast(kind.get(field.type, "long")).alias(field.name))
    return rows.select(*columns)


def count_captions(
    ctx: Context[Any], counts: Sequence[str], heavy: Sequence[int], limit: int
) -> "DataFrame":
    """Rows of COUNTED: the kept pairs of captions with heavy patterns."""
    from pyspark.sql import functions as F

    chosen = F.broadcast(ctx.from_arrow(pa.table({"pattern": pa.array(heavy, pa.int64())})))
    rows = _counted(ctx, counts).join(chosen, "pattern", "left_semi")
    by_domain = rows.groupBy("pattern", "caption", "page_domain").agg(
        F.count_if("is_pair").alias("images"),
        F.count_if("is_on_domain").alias("caption_domain_images"),
    )
    by_caption = by_domain.groupBy("caption").agg(
        F.sum("images").alias("caption_images"),
        F.count_if(F.col("caption_domain_images") > 0).alias("caption_domains"),
    )
    by_pattern = by_domain.groupBy("pattern", "page_domain").agg(
        F.sum("caption_domain_images").alias("caption_pattern_pairs")
    )
    kept = rows.where("is_kept")
    on_domain = by_domain.drop("images", "pattern")
    keys = ["caption", "page_domain"]
    joined = _beside(kept, on_domain, keys, "caption_domain_images", limit)
    joined = _beside(joined, by_pattern, ["pattern", "page_domain"], "caption_pattern_pairs", limit)
    few = _beside(joined, by_caption, ["caption"], "caption_images", limit)
    return few.select(*COUNTED.names)


def _beside(
    rows: "DataFrame", counted: "DataFrame", keys: list[str], count: str, limit: int
) -> "DataFrame":
    """The rows with what was counted by their keys. Those of a key with more than `limit` rows
    would meet in one task of the join: such keys are few, and are sent to where the rows are."""
    from pyspark.sql import functions as F

    many, few = counted.where(F.col(count) > limit), counted.where(F.col(count) <= limit)
    return rows.join(F.broadcast(many), keys).unionByName(
        rows.join(F.broadcast(many.select(*keys)), keys, "left_anti").join(few, keys)
    )
