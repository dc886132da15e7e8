"""score: embed every distinct picture and caption once, then compare each pair's two vectors.

Grows with the number of distinct pictures and captions (model time) and with the number of pairs
(one join on 16-byte keys that carries two vectors a pair).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.ids import text_id
from pipeline.core.reasons import DropReason, Status
from pipeline.core.stage import Stage
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import (
    CANDIDATES,
    EMBEDDING_INDEX,
    EMBEDDINGS,
    ID,
    IMAGES,
    LISTED,
    NULL_SCORES,
    SCORES,
    picture_scores_table,
)
from pipeline.core.vectors import similarity
from pipeline.fetch.settings import DownloadSection
from pipeline.match.listed import without_blocked
from pipeline.score import clip, descriptor
from pipeline.score.embed import INPUTS, embed_captions, embed_pictures
from pipeline.score.pictures import Embedder
from pipeline.stages.score_section import ScoreSection

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def check(section: ScoreSection) -> dict[str, str]:
    """Identity of local weights; InputError when they are not there. Hub tags name themselves."""
    found = {}
    if clip.is_local(section.model, section.pretrained):
        found["sha256"] = clip.sha256_of(clip.local_weights(section.model, section.pretrained))
    if descriptor.is_script(section.copy_model, section.copy_pretrained):
        found["copy_sha256"] = clip.sha256_of(descriptor.script_file(section.copy_model))
    elif clip.is_local(section.copy_model, section.copy_pretrained):
        weights = clip.local_weights(section.copy_model, section.copy_pretrained, "copy_")
        found["copy_sha256"] = clip.sha256_of(weights)
    return found


@dataclass(frozen=True)
class _Frames:
    """images: ok images with their content_id, but for the blocked ones. blocked: these. pairs: of
    `images`, with text_id and caption."""

    images: "DataFrame"
    blocked: "DataFrame"
    pairs: "DataFrame"


def build(ctx: Context[ScoreSection]) -> list[Account]:
    """Write `embeddings` and `scores`; accounts of pictures, captions and pairs."""
    from pyspark.sql import functions as F

    parts = [row.part for row in ctx.read(IMAGES).select("part").distinct().collect()]
    parts = sorted(parts) or [0]
    frames = _frames(ctx, parts)
    if not ctx.store.exists(f"{INPUTS.name}/_SUCCESS"):
        ctx.write(INPUTS, _inputs(frames, _copy_texture(ctx)))
    work = partial(embed_part, ctx.store, ctx.config)
    embedded = ctx.run_parts(EMBEDDINGS, work, [(part, None) for part in parts])
    scored = ctx.write(SCORES, _scores(ctx, frames))
    ctx.store.remove(INPUTS.name)
    images = frames.images.count()
    pairs = frames.images.join(ctx.read(CANDIDATES), "image_id").agg(F.sum(F.size("captions")))
    pictures, captions, compared = _accounts(embedded, images, pairs.collect()[0][0] or 0, scored)
    pictures.drop(DropReason.BLOCKED, frames.blocked.count())
    return [pictures, captions, compared]


def _accounts(embedded: list[Account], images: int, pairs: int, scored: int) -> list[Account]:
    by_unit = {account.unit: account for account in embedded}
    pictures, captions = (by_unit.get(u, Account(u)) for u in ("pictures", "captions"))
    compared = Account("pairs", rows_in=scored, kept=scored)
    for account, reason, rows_in in (
        (pictures, DropReason.SAME_PICTURE, images),
        (captions, DropReason.SAME_CAPTION, pairs),
        (compared, DropReason.NO_SCORE, pairs),
    ):
        account.drop(reason, rows_in - account.rows_in)
    return [pictures, captions, compared]


def _frames(ctx: Context[ScoreSection], parts: Sequence[int]) -> _Frames:
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
    pairs = (
        ctx.read(CANDIDATES)
        .select("image_id", F.explode("captions").alias("c"))
        .join(images.select("image_id", "content_id"), "image_id")
        .select("image_id", "content_id", "c.pair_id", "c.caption")
        .mapInArrow(
            partial(_add_text_ids, tuple(parts)),
            "image_id binary, content_id binary, pair_id binary, caption string, "
            "text_id binary, text_part int",
        )
    )
    blocked = found.where(F.col("status") == DropReason.BLOCKED.value)
    return _Frames(images, blocked, pairs)


def _add_text_ids(
    parts: tuple[int, ...], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Append each caption's id and the part that embeds it."""
    numbers = np.array(parts, dtype=np.int32)
    for batch in batches:
        if not batch.num_rows:
            continue
        ids = [text_id(caption) for caption in batch.column("caption").to_pylist()]
        first_bytes = np.frombuffer(b"".join(i[:4] for i in ids), ">u4")
        columns = [*batch.columns, pa.array(ids, ID), pa.array(numbers[first_bytes % len(parts)])]
        names = [*batch.schema.names, "text_id", "text_part"]
        yield pa.RecordBatch.from_arrays(columns, names)


def _copy_texture(ctx: Context[ScoreSection]) -> int | None:
    """The least texture of pictures that are described for copy detection; None: none are."""
    if not ctx.config.copy_model:
        return None
    download = ctx.sections["download"]
    assert isinstance(download, DownloadSection)
    return download.min_texture


def _inputs(frames: _Frames, copy_texture: int | None) -> "DataFrame":
    """Rows of INPUTS: every distinct picture at its smallest image_id, every distinct caption.

    Of the pictures of one fingerprint, which are the same for `match`, the smallest content_id is
    described for copy detection, if its texture is at least `copy_texture`.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    place = F.min(F.struct("image_id", "raw_round", "raw_offset", "raw_bytes", "part"))
    distinct = frames.images.groupBy("content_id").agg(
        place.alias("place"),
        F.min("fingerprint").alias("fingerprint"),
        F.min("texture").alias("texture"),
    )
    for_copies = F.lit(False)
    if copy_texture is not None:
        same = Window.partitionBy("fingerprint")
        is_first = F.col("content_id") == F.min("content_id").over(same)
        for_copies = is_first & (F.col("texture") >= copy_texture)
    pictures = distinct.select(
        F.lit("image").alias("kind"),
        "content_id",
        "place.image_id",
        "place.raw_round",
        "place.raw_offset",
        "place.raw_bytes",
        for_copies.alias("for_copies"),
        F.lit(None).cast("string").alias("caption"),
        "place.part",
    )
    captions = frames.pairs.dropDuplicates(["text_id"]).select(
        F.lit("text").alias("kind"),
        F.col("text_id").alias("content_id"),
        F.lit(None).cast("binary").alias("image_id"),
        F.lit(None).cast("int").alias("raw_round"),
        F.lit(None).cast("long").alias("raw_offset"),
        F.lit(None).cast("int").alias("raw_bytes"),
        F.lit(False).alias("for_copies"),
        "caption",
        F.col("text_part").alias("part"),
    )
    # By content: the place in the tar is the order of arrival, and what is embedded together in a
    # batch shows in the last bits of its vectors.
    return (
        pictures.unionByName(captions)
        .repartition("part")
        .sortWithinPartitions("part", "kind", "content_id")
    )


@lru_cache(maxsize=2)
def _model(
    name: str, pretrained: str, precision: clip.Precision, device: str, threads: int
) -> clip.Clip:
    """A model of this worker process, loaded once for all its tasks."""
    return clip.load(name, pretrained, precision, device, threads)


def _copy_model(section: ScoreSection, device: str) -> Embedder | None:
    """The copy-detection model of this worker process; None when there is none."""
    name, threads = section.copy_model, section.threads or 1
    if not name:
        return None
    if descriptor.is_script(name, section.copy_pretrained):
        scale = section.copy_side, section.copy_mean, section.copy_std
        return descriptor.load(name, *scale, device, threads)
    return _model(name, section.copy_pretrained, section.precision, device, threads)


def _device(section: ScoreSection) -> str:
    """The GPU that Spark gave this task where it schedules them, else what the config says."""
    from pyspark import TaskContext

    context = TaskContext.get()
    given = context.resources().get("gpu") if context and section.device == "auto" else None
    return f"cuda:{given.addresses[0]}" if given else section.device


def embed_part(store: Store, section: ScoreSection, part: int, _: None, sink: PartSink) -> None:
    """Embed the pictures and captions of one part of INPUTS into `sink`.

    Raises InputError when the part's tar or the weights are missing.
    """
    device = _device(section)
    model = _model(
        section.model, section.pretrained, section.precision, device, section.threads or 1
    )
    copies = _copy_model(section, device)
    models: list[Embedder] = [model, *([copies] if copies else [])]
    pictures, captions = Account("pictures"), Account("captions")
    sink.accounts = [pictures, captions]
    if not store.exists(f"{INPUTS.name}/{INPUTS.partition}={part}"):
        return  # nothing to embed: no picture arrived, and no caption falls to this part
    rows = pa.Table.from_batches(store.read_part(INPUTS, part))
    images = rows.filter(pc.equal(rows.column("kind"), "image"))
    texts = rows.filter(pc.equal(rows.column("kind"), "text"))
    size = section.batch_size
    pictured = embed_pictures(models, store, part, images, size, section.decode_threads or 2)
    for batches, unreadable in pictured:
        for batch in batches:
            sink.write(batch)
        pictures.keep(batches[0].num_rows)
        pictures.drop(DropReason.UNREADABLE_PICTURE, unreadable)
    for batch in embed_captions(model, texts, size):
        sink.write(batch)
        captions.keep(batch.num_rows)


def _scores(ctx: Context[ScoreSection], frames: _Frames) -> "DataFrame":
    """Rows of SCORES: pairs whose picture and caption both have a vector."""
    from pyspark.sql import functions as F

    vectors = ctx.read(EMBEDDINGS)

    def of(kind: str, key: str) -> "DataFrame":
        is_kind = (F.col("model") == "clip") & (F.col("kind") == kind)
        return vectors.where(is_kind).select(
            F.col("content_id").alias(key), F.col("vector").alias(f"{kind}_vector")
        )

    return (
        frames.pairs.select("pair_id", "image_id", "content_id", "text_id")
        .join(of("image", "content_id"), "content_id")
        .join(of("text", "text_id"), "text_id")
        .select("pair_id", "image_id", "image_vector", "text_vector")
        .mapInArrow(_compare, "pair_id binary, image_id binary, clip_similarity float")
    )


def _compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            found = similarity(batch.column("image_vector"), batch.column("text_vector"))
            columns = [batch.column("pair_id"), batch.column("image_id"), pa.array(found)]
            yield pa.RecordBatch.from_arrays(columns, SCORES.schema.names)


STAGE = Stage(
    name="score",
    reads=(CANDIDATES, IMAGES, LISTED),
    writes=(SCORES, EMBEDDINGS, EMBEDDING_INDEX, picture_scores_table(), NULL_SCORES),
    config=ScoreSection,
    build=build,
    folders=(INPUTS.name,),
    check=check,
)
