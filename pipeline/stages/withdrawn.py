"""Pictures of earlier releases that a crawl finds on a page which opts out.

Such a picture is no candidate of the crawl, for the registry holds it, so that nothing else would
tell. Cost: the ids and opt-outs of the crawl's pairs, and 16 bytes for each released picture.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from pipeline.core.spark import read_table
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.match import registry

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Withdrawn(NamedTuple):
    """url: the picture's canonical one. optout: the page's, e.g. "meta:noai"."""

    image_id: bytes
    url: str
    optout: str


def withdrawn(spark: "SparkSession", run: Store, held: registry.Registry) -> list[Withdrawn]:
    """The registry's pictures that pages of this run opt out, by image_id. Memory of the driver:
    these, some 200 bytes each."""
    from pyspark.sql import functions as F

    paths = [
        held.store.path(path)
        for entry in held.releases
        for path in entry.files(registry.IMAGES_TABLE)
    ]
    if not paths:
        return []
    numbers = spark.range(0, len(paths), 1, min(len(paths), 1000))
    released = numbers.mapInArrow(partial(_ids, held.store, paths), "image_id binary")
    opted_out = read_table(spark, run, PAIRS).where(F.col("page_optout").isNotNull())
    found = (
        opted_out.groupBy("image_id")
        .agg(F.min("canonical_url").alias("url"), F.min("page_optout").alias("optout"))
        .join(released, "image_id", "left_semi")
        .orderBy("image_id")
        .collect()
    )
    return [Withdrawn(bytes(row["image_id"]), row["url"], row["optout"]) for row in found]


def _ids(
    store: Store, paths: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            with store.open_table(paths[number]) as rows:
                yield from rows.iter_batches(columns=["image_id"])
