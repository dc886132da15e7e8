"""score: embed every distinct picture and caption once, then compare each pair's vectors.

Grows with the number of distinct pictures and captions (model time) and with the number of pairs
(one join on 16-byte keys that carries two vectors a pair and model). What was embedded before is
found by a join on keys, and copied.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema

from pipeline.core import spark_files
from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.embeddings import BUCKETS, choose_buckets
from pipeline.core.reasons import DropReason
from pipeline.core.records import forget_earlier
from pipeline.core.stage import Stage
from pipeline.core.tables import (
    CANDIDATES,
    CLIP_MODEL,
    EMBEDDING_INDEX,
    EMBEDDINGS,
    IMAGES,
    LISTED,
    NULL_SCORES,
    SCORES,
    picture_scores_table,
    similarity_name,
)
from pipeline.core.vectors import similarity
from pipeline.score.inputs import INPUTS, Track
from pipeline.stages import score_part
from pipeline.stages.score_inputs import Frames, frames, reused, with_text_ids, write_inputs
from pipeline.stages.score_null import null_pairs
from pipeline.stages.score_section import ScoreSection, scorers_of, scores_of, specs_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A column of SCORES, the vector of the picture that it is of, and the vector of the caption.
Measure = tuple[str, Track, Track]


def check(section: ScoreSection) -> dict[str, Any]:
    """Identity of local weights; InputError when they are not there. Hub tags name themselves."""
    reused(section)
    found: dict[str, Any] = {
        f"{spec.prefix}sha256": digest for spec in specs_of(section) if (digest := spec.digest())
    }
    scorers = scorers_of(section).check()
    return found | ({"scorers": scorers} if scorers else {})


def build(ctx: Context[ScoreSection]) -> list[Account]:
    """Write `embeddings`, what is found of pictures, and `scores`; accounts of pictures, captions,
    vectors and pairs."""
    from pyspark.sql import functions as F

    parts = [row.part for row in ctx.read(IMAGES).select("part").distinct().collect()]
    parts = sorted(parts) or [0]
    found, work = frames(ctx), score_part.plan(ctx)
    if not ctx.store.exists(f"{INPUTS.name}/_SUCCESS"):
        write_inputs(ctx, found, parts, work)
    embedded = score_part.run(ctx, work, parts)
    _write_index(ctx)
    measures = _measures(ctx.config)
    vectors = ctx.read(EMBEDDINGS)
    keys = ["pair_id", "image_id", "part"]
    pairs = with_text_ids(found.captions, [*keys, "content_id", "caption"])
    scored = ctx.write(scores_of(ctx.sections), compared(pairs, vectors, measures, keys))
    _write_null(ctx, found, vectors, measures)
    ctx.store.remove(INPUTS.name)
    forget_earlier(ctx.store, ctx.stage)
    images = found.images.count()
    counted = found.images.join(ctx.read(CANDIDATES), "image_id").agg(F.sum(F.size("captions")))
    accounts = _accounts(embedded, images, counted.collect()[0][0] or 0, scored)
    accounts[0].drop(DropReason.BLOCKED, found.blocked.count())
    return accounts


def _accounts(embedded: list[Account], images: int, pairs: int, scored: int) -> list[Account]:
    by_unit = {account.unit: account for account in embedded}
    pictures, captions, vectors, new = (
        by_unit.get(u, Account(u)) for u in ("pictures", "captions", "vectors", "new_vectors")
    )
    compared = Account("pairs", rows_in=scored, kept=scored)
    for account, reason, rows_in in (
        (pictures, DropReason.SAME_PICTURE, images),
        (captions, DropReason.SAME_CAPTION, pairs),
        (compared, DropReason.NO_SCORE, pairs),
    ):
        account.drop(reason, rows_in - account.rows_in)
    return [pictures, captions, vectors, new, compared]


def _measures(section: ScoreSection) -> list[Measure]:
    """Every similarity, `clip_similarity` first."""
    names = (CLIP_MODEL, *section.models)
    found = [(similarity_name(n), Track(n, "image"), Track(n, "text")) for n in names]
    if section.flipped:
        flipped = Track(CLIP_MODEL, "flipped"), Track(CLIP_MODEL, "text")
        found.append((similarity_name(CLIP_MODEL, flipped=True), *flipped))
    return found


def _write_index(ctx: Context[ScoreSection]) -> None:
    """EMBEDDING_INDEX, from the files of EMBEDDINGS without their vectors."""
    from pyspark.sql import functions as F

    files = list(ctx.store.committed(EMBEDDINGS).values())
    schema = pa.schema([EMBEDDINGS.schema.field(n) for n in ("content_id", "model", "kind")])
    vectors = spark_files.read_places(ctx.spark, ctx.store, files, schema)
    buckets = choose_buckets(vectors.count())
    first = F.conv(F.hex(F.substring("content_id", 1, 2)), 16, 10).cast("long")
    rows = vectors.select(
        "content_id",
        "model",
        "kind",
        F.regexp_extract("file", r"part-(\d+)[^/]*$", 1).cast("int").alias("part"),
        "row",
        F.shiftright(first * buckets, 16).cast("int").alias("bucket"),
    )
    tasks = min(buckets, int(ctx.spark.conf.get("spark.sql.shuffle.partitions") or 1))
    ordered = rows.repartition(tasks, "bucket").sortWithinPartitions("bucket", "content_id")
    ctx.write(EMBEDDING_INDEX, ordered)
    ctx.store.write_json(BUCKETS, {"buckets": buckets})


def _write_null(
    ctx: Context[ScoreSection], found: Frames, vectors: "DataFrame", measures: Sequence[Measure]
) -> None:
    from pyspark.sql import functions as F

    run = ctx.sections["run"]
    assert isinstance(run, RunSection)
    if not ctx.config.null_pairs:
        schema = from_arrow_schema(NULL_SCORES.schema)
        ctx.write(NULL_SCORES, ctx.spark.createDataFrame([], schema))
        return
    keys = ["lang", "pair_id", "caption_pair_id"]
    sample = null_pairs(found.captions, ctx.config.null_pairs, run.seed)
    pairs = with_text_ids(sample, [*keys, "content_id", "caption"])
    wide = compared(pairs, vectors, measures, keys)
    each = [
        F.struct(F.lit(n).alias("measure"), F.col(n).alias("similarity")) for n, _, _ in measures
    ]
    ctx.write(NULL_SCORES, wide.select(*keys, F.inline(F.array(*each))))


def compared(
    pairs: "DataFrame", vectors: "DataFrame", measures: Sequence[Measure], keys: Sequence[str]
) -> "DataFrame":
    """The similarity of picture and caption by each measure, beside the keys, for the pairs whose
    picture and caption have all vectors.

    pairs: the keys, content_id and text_id. vectors: rows of EMBEDDINGS.
    """
    images = list(dict.fromkeys(image for _, image, _ in measures))
    texts = list(dict.fromkeys(text for _, _, text in measures))
    columns = [(name, f"i{images.index(i)}", f"t{texts.index(t)}") for name, i, t in measures]
    joined = (
        pairs.select(*keys, "content_id", "text_id")
        .join(_beside(vectors, images, "content_id", "i"), "content_id")
        .join(_beside(vectors, texts, "text_id", "t"), "text_id")
        .select(
            *keys, *(f"i{n}" for n in range(len(images))), *(f"t{n}" for n in range(len(texts)))
        )
    )
    kinds = {field.name: field.dataType.simpleString() for field in pairs.schema}
    schema = [*(f"{key} {kinds[key]}" for key in keys), *(f"{n} float" for n, _, _ in columns)]
    work = partial(_compare, keys=list(keys), columns=columns)
    return joined.mapInArrow(work, ", ".join(schema))


def _beside(vectors: "DataFrame", tracks: list[Track], key: str, prefix: str) -> "DataFrame":
    """The vectors of several tracks in columns prefix0, prefix1, ..., one row for each id."""
    from pyspark.sql import functions as F

    is_of = [(F.col("model") == t.model) & (F.col("kind") == t.kind) for t in tracks]
    ids = F.col("content_id").alias(key)
    if len(tracks) == 1:
        return vectors.where(is_of[0]).select(ids, F.col("vector").alias(f"{prefix}0"))
    each = [
        F.first(F.when(chosen, F.col("vector")), ignorenulls=True).alias(f"{prefix}{n}")
        for n, chosen in enumerate(is_of)
    ]
    return vectors.where(reduce(or_, is_of)).groupBy(ids).agg(*each).dropna()


def _compare(
    batches: Iterable[pa.RecordBatch], keys: list[str], columns: list[tuple[str, str, str]]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            found = [pa.array(similarity(batch.column(i), batch.column(t))) for _, i, t in columns]
            arrays = [*(batch.column(key) for key in keys), *found]
            yield pa.RecordBatch.from_arrays(arrays, [*keys, *(name for name, _, _ in columns)])


STAGE = Stage(
    name="score",
    reads=(CANDIDATES, IMAGES, LISTED),
    writes=(SCORES, EMBEDDINGS, EMBEDDING_INDEX, picture_scores_table(), NULL_SCORES),
    config=ScoreSection,
    build=build,
    reusable=(EMBEDDINGS.name, picture_scores_table().name),
    folders=(INPUTS.name,),
    check=check,
)
