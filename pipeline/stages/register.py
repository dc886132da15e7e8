"""Add the pictures of a finished release to the registry, so that later runs are matched against
them and `dedupe` leaves their images out.

Cost: four shuffles of the release's pictures, 100 bytes each; what the registry holds already is
neither read nor written.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.core import records, release
from pipeline.core.errors import ConfigError, ContractError
from pipeline.core.spark import read_table
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.match import registry
from pipeline.match.registry import HASH_TABLES, TABLES, KeyTable, Registry, Release
from pipeline.stages.shard import RELEASE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROW_DDL = (
    "key long, image_id binary, fingerprint binary, hash64 long, hash256 binary, texture int, "
    "aspect double, bucket int"
)
_ROWS_PER_FILE = 4_000_000
_MAX_FILES = 1 << 12


def register(
    spark: "SparkSession", store: Store, held: Registry, name: str, min_texture: int
) -> tuple[Registry, Release]:
    """Add the release of a run; the registry with it, and what it says of the release.

    store: the run's folder. name: what the registry calls the release. min_texture: flatter
    pictures are registered by their fingerprint alone.
    A release that the registry holds changes nothing. Raises ConfigError when it holds another
    release of this name, ContractError when the run has no finished release.
    """
    manifest = finished_release(store)
    if known := refuse(held, manifest, name):
        return held, known
    pictures = released_pictures(spark, store, len(manifest.shards)).persist()
    total = pictures.count()
    files = min(_MAX_FILES, 1 << max(0, -(-total // _ROWS_PER_FILE) - 1).bit_length())
    rows = {t.name: _write_table(held.store, t, pictures, manifest.id, files, min_texture)
            for t in TABLES}  # fmt: skip
    pictures.unpersist()
    if sum(rows["images"]) != total:
        raise ContractError(f"{total} pictures, but {sum(rows['images'])} written")
    added = Release(name, manifest.id, total, rows)
    return held.with_release(added), added


def refuse(held: Registry, manifest: release.Manifest, name: str) -> Release | None:
    """What the registry says of a release; None when it does not hold it. Raises ConfigError when
    it holds another release of that name."""
    for known in held.releases:
        if known.id == manifest.id:
            return known
    for known in held.releases:
        if known.name == name:
            raise ConfigError(
                f"the registry in {held.store.root} holds another release of the name {name!r} "
                f"(id {known.id[:12]}, this one {manifest.id[:12]}); give this one a name with "
                "RELEASE=<name>"
            )
    return None


def finished_release(store: Store) -> release.Manifest:
    """The manifest of a run's release. Raises ContractError when `shard` has not finished it."""
    record = records.load(store, "shard")
    if record is None or record["state"] != "done":
        raise ContractError(f"{store.root} holds no finished release; run shard first")
    return release.load(store.fs, store.path(RELEASE))


def released_pictures(spark: "SparkSession", store: Store, shards: int) -> "DataFrame":
    """image_id, fingerprint, hash64, hash256, texture, aspect of each image in a run's release."""
    from pyspark.sql import functions as F

    tars = [f"{release.shard_name(shard, shards)}.tar" for shard in range(shards)]
    paths = [store.path(RELEASE, release.sidecar_path(tar)) for tar in tars]
    numbers = spark.range(0, len(paths), 1, min(len(paths), 1000))
    held = numbers.mapInArrow(partial(_image_ids, store, paths), "image_id binary").distinct()
    aspect = F.col("original_width") / F.col("original_height")
    images = read_table(spark, store, IMAGES).select(
        "image_id", "fingerprint", "hash64", "hash256", "texture", aspect.alias("aspect")
    )
    return images.join(held, "image_id")


def _image_ids(
    store: Store, paths: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            with store.open_table(paths[number]) as rows:
                yield from rows.iter_batches(columns=["image_id"])


def _write_table(
    store: Store,
    table: KeyTable,
    pictures: "DataFrame",
    release_id: str,
    files: int,
    min_texture: int,
) -> list[int]:
    """Write a release's files of one table; how many rows each has.

    What an interrupted addition left of them is removed.
    """
    from pyspark.sql import functions as F

    store.remove(registry.folder_of(table, release_id))
    names = registry.ROW.names[1:]
    rows = pictures
    if table in HASH_TABLES:
        # One picture tells all of its fingerprint.
        textured = pictures.where(F.col("texture") >= min_texture)
        least = F.min(F.struct("image_id", *(n for n in names if n != "image_id"))).alias("row")
        rows = textured.groupBy("fingerprint").agg(least).select("row.*")
    bits = files.bit_length() - 1
    counts = (
        rows.select(*names)
        .mapInArrow(partial(_keyed, table, bits), _ROW_DDL)
        .repartitionById(files, "bucket")
        .sortWithinPartitions("key", "image_id")
        .mapInArrow(partial(_write_bucket, store, table, release_id), "bucket int, rows long")
        .collect()
    )
    written = {row["bucket"]: row["rows"] for row in counts}
    return [written.get(bucket, 0) for bucket in range(files)]


def _keyed(
    table: KeyTable, bits: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield registry.keyed(table, batch, bits)


def _write_bucket(
    store: Store, table: KeyTable, release_id: str, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    first = next((b for b in batches if b.num_rows), None)
    if first is None:
        return
    bucket: int = first.column("bucket")[0].as_py()
    path = Release("", release_id, 0, {}).file(table, bucket)

    def all_of_them() -> Iterator[Any]:
        yield first
        yield from batches

    count = registry.write_file(store, path, all_of_them())
    yield pa.RecordBatch.from_pydict(
        {"bucket": pa.array([bucket], pa.int32()), "rows": pa.array([count], pa.int64())}
    )
