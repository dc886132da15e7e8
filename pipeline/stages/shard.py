"""`shard`: the kept pairs and their pictures become a release of WebDataset tars.

Samples are ordered by pair_id. It is a hash, so that order mixes hosts, pages and languages
perfectly, and it does not depend on how the rows arrive. Shard s of n holds the ranks
[floor(s N / n), floor((s + 1) N / n)) of that order.

The rank of a pair is found without sorting all of them in one place: pairs are counted by the
first two bytes of their id, and ranked inside each of those 65,536 groups; the rank is the number
of pairs in earlier groups plus the rank inside. Cost: two shuffles of the kept pairs' metadata.
No picture crosses a shuffle: a task per shard reads its pictures from the raw tars.

A pair whose own picture gave way to a near-duplicate is written with that one (`picture_id`): its
bytes and all that is said of them; `caption_url` says where the caption comes from.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, StringConstraints, field_validator
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

import pipeline
from pipeline.core import records, release
from pipeline.core.accounts import Account, merge
from pipeline.core.context import Context
from pipeline.core.errors import ContractError, InputError, PairmillError
from pipeline.core.provenance import gather
from pipeline.core.reasons import DropReason
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.stage import Section, Stage, StageSection, tuning
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CLIP_MODEL,
    CUTOFFS,
    DECISIONS,
    PICTURE,
    SHARDS,
    Table,
    column,
    measures_table,
    similarity_name,
)
from pipeline.shards import coyo, sample
from pipeline.shards.build import Job
from pipeline.shards.build import build as build_shard
from pipeline.shards.card import card, provenance
from pipeline.stages.score_section import (
    ScoreSection,
    measures_of,
    picture_scores_of,
)

RELEASE = "release"
BUILDING = "release.building"
_INPUTS = "shard_inputs"
_PLAN = f"{_INPUTS}/_plan.json"

_LICENCE_NOTE = (
    "Pictures and captions belong to their authors; this release claims no rights in them. "
    "Opt-outs that pages, hosts and robots.txt stated when the pictures were fetched were honoured."
)


class CoyoSection(Section):
    """`[shard.coyo]`: what COYO-700M's columns in `.meta/coyo/` are filled from, see `shards.coyo`.

    bert_vocab, gpt_merges: paths of BERT's vocab.txt and of GPT-2's merges.txt, for the counts of
        tokens; without one its column is absent.
    columns: COYO's column -> number that is measured, for scores that are not found by themselves.
    """

    bert_vocab: str = ""
    gpt_merges: str = ""
    columns: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _are_coyos(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        for name in columns:
            if name not in coyo.SCORED:
                raise ValueError(f"{name} is not one of {', '.join(coyo.SCORED)}")
        return columns

    @property
    def vocabularies(self) -> dict[str, str]:
        """Column of token counts -> path, of those that are given."""
        paths = {"num_tokens_bert": self.bert_vocab, "num_tokens_gpt": self.gpt_merges}
        return {name: path for name, path in paths.items() if path}


class ShardSection(StageSection):
    """`[shard]`."""

    # Target. The number of shards is rounded, and no two differ by more than one sample.
    samples_per_shard: int = Field(default=10_000, gt=0, le=10**7)
    # As the dataset card has it.
    name: str = Field(default="Pairmill release", min_length=1)
    # An identifier the Hugging Face Hub knows.
    licence: str = "other"
    licence_note: str = _LICENCE_NOTE
    # Where people turn to have something removed: an e-mail address or a page. The card says so,
    # and says that there is none while this is empty.
    optout_address: str = ""
    # Languages that the card names, as ISO 639 codes; it names none unless they are given.
    languages: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")], ...] = ()
    # What COYO-700M's columns are filled from, see `[shard.coyo]`.
    coyo: CoyoSection = CoyoSection()
    # Pictures a task holds while it writes a shard.
    read_ahead_mb: int = tuning(64, gt=0)


def check(section: ShardSection) -> dict[str, str]:
    """Identity of the vocabulary files. Raises InputError when one is not there, or is none."""
    return {
        name: hashlib.sha256(vocabulary).hexdigest()
        for name, vocabulary in _vocabularies(section.coyo).items()
    }


def build(ctx: Context[ShardSection]) -> list[Account]:
    """Plan the shards, build the missing ones, publish the release.

    Raises ConfigError when `shard.coyo.columns` names what is not measured.
    """
    measures = measures_of(ctx.sections, ctx.filters)
    inputs = inputs_table(measures)
    columns = _coyo(ctx, measures)
    folder = _open(ctx)
    if not _is_planned(ctx.store):
        _assign(ctx, measures, inputs)
    plan = ctx.store.read_json(_PLAN)
    samples, shards = plan["samples"], plan["shards"]
    job = Job(ctx.store, folder, inputs, shards, ctx.config.read_ahead_mb << 20, columns)
    sizes = [_first(s + 1, samples, shards) - _first(s, samples, shards) for s in range(shards)]
    accounts = ctx.run_parts(SHARDS, partial(build_shard, job), list(enumerate(sizes)))
    lost = Account("samples")
    lost.drop(DropReason.NO_SCORE, plan["no_score"])
    _publish(ctx, folder, shards, columns)
    for shard in ctx.store.fs.glob(ctx.store.path(_INPUTS, "shard=*")):
        ctx.store.fs.rm(shard, recursive=True)
    return merge([*accounts, lost])


def inputs_table(measures: Table) -> Table:
    """`shard_inputs`: the measures of the pairs that go into the release, in a folder per shard."""
    fields = [
        column("caption_url", pa.string(), "URL of the image that the caption stood beside"),
        column("shard", pa.int32(), "the tar it goes into, from 0"),
    ]
    return Table(
        _INPUTS,
        "One row per sample of the release; removed when the release is written.",
        ("pair_id",),
        pa.schema([*measures.schema, *fields]),
        partition="shard",
    )


def _coyo(ctx: Context[ShardSection], measures: Table) -> coyo.Plan:
    """What COYO-700M's columns of this release are filled from."""
    section, score = ctx.config.coyo, ctx.sections.get("score")
    models, heads = {}, {}
    if isinstance(score, ScoreSection):
        further = {similarity_name(n): (m.model, m.pretrained) for n, m in score.models.items()}
        models = {similarity_name(CLIP_MODEL): (score.model, score.pretrained), **further}
        heads = {f"{name}_score": head.kind for name, head in score.heads.items()}
    found = coyo.sources(measures.schema, models, heads, section.columns)
    return coyo.Plan(found, _vocabularies(section))


def _vocabularies(section: CoyoSection) -> dict[str, bytes]:
    """Column of token counts -> content of its file, which is tried. Raises InputError."""
    found = {}
    for name, path in section.vocabularies.items():
        try:
            found[name] = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"shard.coyo: {path}: {error.strerror}") from None
        coyo.counter(name, found[name], f"shard.coyo: {path}")
    return found


def _first(shard: int, samples: int, shards: int) -> int:
    """Rank of the first sample of a shard."""
    return shard * samples // shards


def _is_planned(store: Store) -> bool:
    """True when the plan is made and the rows of every shard still to build are there."""
    if not store.exists(_PLAN):
        return False
    missing = set(range(store.read_json(_PLAN)["shards"])) - store.committed(SHARDS).keys()
    files = store.fs.find(store.path(_INPUTS)) if missing else ()
    with_rows = {f.rsplit("/", 2)[-2] for f in files if f.endswith(".parquet")}
    return all(f"shard={s}" in with_rows for s in missing)


def _assign(ctx: Context[ShardSection], measures: Table, inputs: Table) -> None:
    """Write `shard_inputs`, then the plan, which is its commit record."""
    decisions = ctx.read(DECISIONS)
    kept = decisions.where("is_kept").select("pair_id", "picture_id")
    rows = _with_pictures(ctx, measures, ctx.read(measures).join(kept, "pair_id"))
    rows = rows.withColumn("_prefix", F.substring("pair_id", 1, 2))
    has_score = ~F.isnan("clip_similarity")
    counts = sorted(
        (bytes(r["_prefix"]), r["rows"], r["usable"])
        for r in rows.groupBy("_prefix")
        .agg(F.count("*").alias("rows"), F.count_if(has_score).alias("usable"))
        .collect()
    )
    wanted, found = kept.count(), sum(c[1] for c in counts)
    samples = sum(c[2] for c in counts)
    if wanted != found:
        raise ContractError(f"{wanted} pairs are kept, but {found} of them are in measures")
    if not samples:
        raise PairmillError(
            f"no pair is left to write: {decisions.count()} were measured, {wanted} kept, "
            f"{found} of these without a score; see the reasons that decide counted"
        )
    per_shard = ctx.config.samples_per_shard
    shards = max(1, (samples + per_shard // 2) // per_shard)
    ranked = _with_shard(ctx, rows.where(has_score), counts, samples, shards)
    ctx.store.remove(_PLAN)
    written = ctx.write(inputs, ranked.repartition("shard").sortWithinPartitions("shard"))
    if written != samples:
        raise ContractError(f"{_INPUTS} has {written} rows, not {samples}: pair_id is not unique")
    plan = {"samples": samples, "shards": shards, "no_score": found - samples}
    ctx.store.write_json(_PLAN, plan)


def _with_pictures(ctx: Context[ShardSection], measures: Table, rows: DataFrame) -> DataFrame:
    """Kept pairs with all that is said of their picture_id in place of their own image, and
    caption_url."""
    rows = rows.withColumn("caption_url", F.col("url"))
    is_moved = F.col("picture_id") != F.col("image_id")
    wanted = ctx.read(DECISIONS).where(F.col("is_kept") & is_moved).select("picture_id").distinct()
    if wanted.isEmpty():
        return rows.drop("picture_id")
    said = [*PICTURE, *picture_scores_of(ctx.sections).schema.names[1:]]
    of_picture = frozenset(said)
    for chosen in ctx.filters.values():
        if chosen.reads and of_picture.issuperset(chosen.reads):
            said += [field.name for field in chosen.measures]
    pictures = (
        ctx.read(measures)
        .select(F.col("image_id").alias("picture_id"), *said)
        .join(wanted, "picture_id", "left_semi")
        .dropDuplicates(["picture_id"])
    )
    moved = rows.where(is_moved).drop(*said).join(pictures, "picture_id")
    return rows.where(~is_moved).unionByName(moved).drop("picture_id")


def _with_shard(
    ctx: Context[ShardSection],
    rows: DataFrame,
    counts: list[tuple[bytes, int, int]],
    samples: int,
    shards: int,
) -> DataFrame:
    """Add the shard of every row; counts: (prefix, rows, usable rows), sorted."""
    before, starts = 0, []
    for prefix, _, usable in counts:
        starts.append((bytearray(prefix), before))
        before += usable
    offsets = ctx.spark.createDataFrame(starts, "_prefix binary, _before bigint")
    inside = F.row_number().over(Window.partitionBy("_prefix").orderBy("pair_id"))
    return (
        rows.join(F.broadcast(offsets), "_prefix")
        # Rank from 1; shard = ceil(rank * shards / samples) - 1, the inverse of `_first`.
        .withColumn("_rank", F.col("_before") + inside)
        .withColumn("shard", F.expr(f"cast((_rank * {shards}L - 1) div {samples}L as int)"))
    )


def _open(ctx: Context[ShardSection]) -> str:
    """The folder to build in, without what killed tasks left, and with every committed tar in it.

    A local release is built beside its place. On object storage, where folders cannot be renamed,
    it is built in place, and is there once its manifest is.
    """
    store = ctx.store
    folder = BUILDING if store.is_local else RELEASE
    if store.is_local and store.exists(RELEASE) and not store.exists(BUILDING):
        Path(store.path(RELEASE)).rename(store.path(BUILDING))
    store.sweep(folder)
    present = _tar_bytes(store, folder)
    done = store.committed(SHARDS)
    for row in ctx.read(SHARDS).collect() if done else ():
        if present.get(row["path"]) != row["bytes"]:
            store.fs.rm(done[row["shard"]])
    return folder


def _tar_bytes(store: Store, folder: str) -> dict[str, int]:
    """Size of every tar in a folder, by file name."""
    if not store.exists(folder):
        return {}
    fs = store.fs
    fs.invalidate_cache()  # other processes have written there
    found = fs.ls(store.path(folder), detail=True)
    files = {str(f["name"]).rsplit("/", 1)[-1]: int(f["size"]) for f in found}
    return {name: size for name, size in files.items() if name.endswith(".tar")}


def _publish(ctx: Context[ShardSection], folder: str, shards: int, columns: coyo.Plan) -> None:
    """Check that all is there, write sizes, card and manifest, and move the release to its name."""
    store = ctx.store
    entries = [
        ShardEntry(row["path"], row["samples"], row["bytes"], row["sha256"])
        for row in ctx.read(SHARDS).where(F.col("shard") < shards).orderBy("shard").collect()
    ]
    manifest = Manifest(ctx.config.name, pipeline.__version__, _ids(store), tuple(entries))
    present = _tar_bytes(store, folder)
    wrong = [e.path for e in entries if present.get(e.path) != e.bytes]
    foreign = sorted(present.keys() - {e.path for e in entries})
    if wrong or foreign:
        raise ContractError(
            f"{store.path(folder)}: tars missing or of another size: {wrong[:5]}, "
            f"tars that are not of this release: {foreign[:5]}; run shard with --redo"
        )
    config = ctx.config
    cutoffs = [row for batch in store.read_part(CUTOFFS, 0) for row in batch.to_pylist()]
    text = card(
        manifest,
        config.licence,
        config.licence_note,
        config.languages,
        sorted(sample.Record.__struct_fields__),
        columns.schema,
        columns.absent,
        provenance(gather(_records(store), cutoffs, pipeline.__version__, config.optout_address)),
    )
    store.write_json(f"{folder}/{release.SIZES}", {e.path: e.samples for e in entries})
    with store.publish(f"{folder}/{release.CARD}") as file:
        file.write(text.encode())
    store.write_json(f"{folder}/{release.MANIFEST}", manifest.to_json())
    if folder != RELEASE:
        Path(store.path(folder)).rename(store.path(RELEASE))


def _records(store: Store) -> dict[str, dict[str, Any]]:
    """The records of every stage that the release rests on, by name."""
    found: dict[str, dict[str, Any]] = {}
    todo = ["shard"]
    while todo:
        name = todo.pop()
        record: dict[str, Any] | None = records.load(store, name)
        if record is not None and name not in found:
            found[name] = record
            todo += record["inputs"]
    return dict(sorted(found.items()))


def _ids(store: Store) -> dict[str, str]:
    """Stage -> id of its config and inputs, of every stage the release rests on."""
    return {name: record["id"] for name, record in _records(store).items()}


STAGE = Stage(
    name="shard",
    reads=(measures_table([]), DECISIONS, CUTOFFS),
    writes=(SHARDS,),
    config=ShardSection,
    build=build,
    folders=(RELEASE, BUILDING, _INPUTS),
    output=RELEASE,
    check=check,
)
