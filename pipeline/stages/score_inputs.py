"""`score`: every distinct picture and caption once, and where what was found of it before lies."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql.pandas.types import from_arrow_type

from pipeline.core import spark_files
from pipeline.core.context import Context
from pipeline.core.embeddings import MODELS
from pipeline.core.errors import InputError
from pipeline.core.ids import as_binary, digests
from pipeline.core.reasons import DropReason, Status
from pipeline.core.records import earlier
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, EMBEDDINGS, IMAGES, LISTED, Table
from pipeline.core.vectors import values
from pipeline.fetch.settings import DownloadSection
from pipeline.match.listed import without_blocked
from pipeline.score.inputs import INPUTS, PIXELS
from pipeline.stages.score_part import SCORERS, PartWork, pixel_identity
from pipeline.stages.score_section import ScoreSection

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Frames:
    """images: ok images with their content_id, but for the blocked ones. blocked: these. captions:
    pair_id, image_id, part, content_id, lang and caption of each pair of `images`."""

    images: "DataFrame"
    blocked: "DataFrame"
    captions: "DataFrame"


def frames(ctx: Context[ScoreSection]) -> Frames:
    """What was downloaded, and its pairs."""
    from pyspark.sql import functions as F

    found = without_blocked(ctx.read(IMAGES), ctx.read(LISTED))
    images = found.where(F.col("status") == Status.OK.value).select(
        "image_id",
        F.substring("sha256", 1, 16).alias("content_id"),
        "part",
        "raw_round",
        "raw_offset",
        "raw_bytes",
        "fingerprint",
        "texture",
    )
    captions = (
        ctx.read(CANDIDATES)
        .select("image_id", F.explode("captions").alias("c"))
        .join(images.select("image_id", "part", "content_id"), "image_id")
        .select(
            "image_id",
            "part",
            "content_id",
            "c.pair_id",
            F.col("c.caption_lang").alias("lang"),
            "c.caption",
        )
    )
    return Frames(images, found.where(F.col("status") == DropReason.BLOCKED.value), captions)


def with_text_ids(captions: "DataFrame", columns: Sequence[str]) -> "DataFrame":
    """Those columns, of which one is `caption`, and text_id."""
    kinds = {field.name: field.dataType.simpleString() for field in captions.schema}
    schema = ", ".join([*(f"{name} {kinds[name]}" for name in columns), "text_id binary"])
    return captions.select(*columns).mapInArrow(_add_text_ids, schema)


def _add_text_ids(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            ids = as_binary(digests(batch.column("caption")))
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, ids], [*batch.schema.names, "text_id"]
            )


def _add_parts(
    batches: Iterable[pa.RecordBatch], parts: NDArray[np.int32]
) -> Iterator[pa.RecordBatch]:
    """Append the part that embeds each caption: dealt out by the first bytes of text_id."""
    for batch in batches:
        if batch.num_rows:
            first = values(batch.column("text_id"))[:, :4].copy().view(">u4").ravel()
            columns = [*batch.columns, pa.array(parts[first % len(parts)])]
            yield pa.RecordBatch.from_arrays(columns, [*batch.schema.names, "part"])


def write_inputs(
    ctx: Context[ScoreSection], found: Frames, parts: list[int], work: PartWork
) -> None:
    """Write INPUTS: every distinct picture at its smallest image_id, every distinct caption.

    parts: among which captions are dealt out by their ids. Of the pictures of one fingerprint,
    which are the same for `match`, the smallest content_id is described for copy detection, if its
    texture is at least `download.min_texture`.
    """
    from pyspark.sql import functions as F

    rows = _pictures(found.images, _copy_texture(ctx)).unionByName(
        _captions(found.captions, parts), allowMissingColumns=True
    )
    stored = _stored(ctx, work)
    if stored is not None:
        rows = rows.join(stored, ["kind", "content_id"], "left")
    else:
        kind = from_arrow_type(INPUTS.schema.field("stored").type)
        rows = rows.withColumn("stored", F.lit(None).cast(kind))
    # By content: the place in the tar is the order of arrival, and what is embedded together in a
    # batch shows in the last bits of its vectors.
    ctx.write(INPUTS, rows.repartition("part").sortWithinPartitions("part", "kind", "content_id"))


def _copy_texture(ctx: Context[ScoreSection]) -> int | None:
    """The least texture of pictures that are described for copy detection; None: none are."""
    if not ctx.config.copy_model:
        return None
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    return download.min_texture


def _pictures(images: "DataFrame", copy_texture: int | None) -> "DataFrame":
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    place = F.min(F.struct("image_id", "raw_round", "raw_offset", "raw_bytes", "part"))
    distinct = images.groupBy("content_id").agg(
        place.alias("place"),
        F.min("fingerprint").alias("fingerprint"),
        F.min("texture").alias("texture"),
    )
    for_copies = F.lit(False)
    if copy_texture is not None:
        same = Window.partitionBy("fingerprint")
        is_first = F.col("content_id") == F.min("content_id").over(same)
        for_copies = is_first & (F.col("texture") >= copy_texture)
    return distinct.select(
        F.lit("image").alias("kind"), "content_id", "place.*", for_copies.alias("for_copies")
    )


def _captions(captions: "DataFrame", parts: list[int]) -> "DataFrame":
    from pyspark.sql import functions as F

    deal = partial(_add_parts, parts=np.array(parts, np.int32))
    return (
        with_text_ids(captions, ["caption"])
        .dropDuplicates(["text_id"])
        .mapInArrow(deal, "caption string, text_id binary, part int")
        .select(
            F.lit("text").alias("kind"),
            F.col("text_id").alias("content_id"),
            F.lit(False).alias("for_copies"),
            "caption",
            "part",
        )
    )


def sources(ctx: Context[ScoreSection]) -> list[Store]:
    """Folders with `embeddings` of earlier scoring: this run's own, and those of `score.reuse`."""
    return earlier(ctx.store, ctx.stage) + [
        source for source in reused(ctx.config) if source.root != ctx.store.root
    ]


def reused(section: ScoreSection) -> list[Store]:
    """The run folders that `score.reuse` names. Raises InputError where one has no embeddings."""
    found = []
    for path in section.reuse:
        folder = path.rstrip("/")
        store = Store(folder.removesuffix(f"/{EMBEDDINGS.name}"))
        if not store.exists(MODELS):
            raise InputError(
                f"score.reuse = {path!r}: there is no {MODELS}; give run folders that were scored, "
                f"or their {EMBEDDINGS.name} folders"
            )
        found.append(store)
    return found


def _stored(ctx: Context[ScoreSection], work: PartWork) -> "DataFrame | None":
    """kind, content_id, and `stored` of what sources have of this run's models and scorers."""
    from pyspark.sql import functions as F

    identities = {spec.name: spec.identity() for spec in work.job.specs}
    found: list[DataFrame] = []
    for source in sources(ctx):
        models = source.read_json(MODELS)["models"] if source.exists(MODELS) else {}
        for name, identity in identities.items():
            same = [n for n, other in models.items() if other == identity]
            if same:
                rows = _places(ctx, source, EMBEDDINGS, ["model", "kind"])
                if rows is not None:
                    found.append(
                        rows.where(F.col("model") == same[0]).withColumn("model", F.lit(name))
                    )
        is_measured = work.job.scorers.pixels and source.exists(SCORERS)
        if is_measured and source.read_json(SCORERS) == pixel_identity(ctx.config):
            rows = _places(ctx, source, work.picture_scores, [])
            if rows is not None:
                columns = {"model": F.lit(PIXELS.model), "kind": F.lit(PIXELS.kind)}
                found.append(rows.withColumns(columns))
    if not found:
        return None
    union = found[0]
    for rows in found[1:]:
        union = union.unionByName(rows)
    is_text = F.col("kind") == "text"
    place = F.struct("model", "kind", "file", "row")
    return (
        union.withColumn("place", place)
        .groupBy(F.when(is_text, "text").otherwise("image").alias("kind"), "content_id")
        .agg(F.collect_list("place").alias("stored"))
    )


def _places(
    ctx: Context[Any], source: Store, table: Table, columns: list[str]
) -> "DataFrame | None":
    """Key columns of a table of a source, with the file and row of each; None without a part."""

    files = list(source.committed(table).values())
    if not files:
        return None
    schema = pa.schema([table.schema.field(name) for name in ("content_id", *columns)])
    return spark_files.read_places(ctx.spark, source, files, schema)
