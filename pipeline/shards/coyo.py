"""COYO-700M's columns of a release's samples, under COYO's names, a Parquet file for each tar.

Columns that nothing here can fill are absent: a column of nulls would say that something was looked
for. Source of names, types and meanings: github.com/kakaobrain/coyo-dataset, README, "Attributes".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import ConfigError
from pipeline.core.tables import column
from pipeline.shards.tokens import BytePairs, WordPieces

# In COYO's order. The docs say what is ours.
COLUMNS = pa.schema(
    [
        column(
            "id",
            pa.int64(),
            "the first 63 bits of the pair's id, which is a hash of canonical URL and caption: the "
            "same in every run and release",
        ),
        column("url", pa.string(), "image URL"),
        column("text", pa.string(), "caption"),
        column("width", pa.int32(), "of the picture as published, upright", unit="pixels"),
        column("height", pa.int32(), "of the picture as published, upright", unit="pixels"),
        column("image_phash", pa.string(), "64-bit DCT hash in hex, as imagehash's phash"),
        column("text_length", pa.int32(), "Unicode characters of the caption", unit="characters"),
        column("word_count", pa.int32(), "runs of letters, digits and underscores", unit="words"),
        column("num_tokens_bert", pa.int32(), "tokens by shard.coyo.bert_vocab, ends not counted"),
        column("num_tokens_gpt", pa.int32(), "tokens by shard.coyo.gpt_merges"),
        column("num_faces", pa.int32(), "faces in the picture", null="not looked for"),
        column(
            "clip_similarity_vitb32", pa.float32(), "cosine by OpenAI's ViT-B/32", null="not scored"
        ),
        column(
            "clip_similarity_vitl14", pa.float32(), "cosine by OpenAI's ViT-L/14", null="not scored"
        ),
        column("nsfw_score_opennsfw2", pa.float32(), "0 to 1, by OpenNSFW2", null="not scored"),
        column("nsfw_score_gantman", pa.float32(), "0 to 1, by GantMan/NSFW", null="not scored"),
        column("watermark_score", pa.float32(), "0 to 1: probability", null="not scored"),
        column(
            "aesthetic_score_laion_v2",
            pa.float32(),
            "by LAION's predictor V2, about 1 to 10",
            null="not scored",
        ),
    ]
)
# Which sample a row is about.
KEY = column("key", pa.string(), "name of the sample in the tar: pair_id in hex")

# Columns that a measure of the run may fill.
SCORED = COLUMNS.names[COLUMNS.names.index("num_faces") :]
# By the model's name without what tells its activation. The weights must be OpenAI's.
_CLIP = {"ViT-B-32": "clip_similarity_vitb32", "ViT-L-14": "clip_similarity_vitl14"}
# What COYO counts. Its README says "separated by spaces"; the numbers it shows are these: a sign by
# itself is no word, and "B-25" is two.
_WORD = r"[\p{L}\p{N}_]+"
# Kind of head that is LAION's second predictor, and the measure that `filters.faces` reads.
_AESTHETIC = "aesthetic_v2"
_FACES = "face_count"
_TOKENS: Mapping[str, type[WordPieces] | type[BytePairs]] = {
    "num_tokens_bert": WordPieces,
    "num_tokens_gpt": BytePairs,
}


@dataclass(frozen=True)
class Plan:
    """What the files of a release hold. Picklable.

    sources: column of `SCORED` -> measure that fills it.
    vocabularies: column of token counts -> content of the file that they are counted by.
    """

    sources: Mapping[str, str]
    vocabularies: Mapping[str, bytes]

    @property
    def schema(self) -> pa.Schema:
        """The columns that can be filled, in COYO's order, and `KEY`."""
        absent = {*SCORED, *_TOKENS} - {*self.sources, *self.vocabularies}
        return pa.schema([*(f for f in COLUMNS if f.name not in absent), KEY])

    @property
    def absent(self) -> tuple[str, ...]:
        """The columns that cannot."""
        return tuple(name for name in COLUMNS.names if name not in self.schema.names)


def sources(
    measures: pa.Schema,
    models: Mapping[str, tuple[str, str]],
    heads: Mapping[str, str],
    named: Mapping[str, str],
) -> dict[str, str]:
    """Column of `SCORED` -> the measure that fills it, in COYO's order.

    models: similarity -> model and weights it was computed with. heads: score -> kind of head.
    named: what the recipe says; else a measure of the column's own name fills it, or one by the
        model or head of that column, or a count of faces.
    Raises ConfigError when the recipe names a measure that is none or no number.
    """
    for name, measure in named.items():
        at = measures.get_field_index(measure)
        if at < 0 or not _is_number(measures.field(at).type):
            numbers = [f.name for f in measures if _is_number(f.type)]
            raise ConfigError(
                f"shard.coyo.columns.{name} = {measure!r} is no number that is measured; "
                f"measured: {', '.join(numbers)}"
            )
    found = dict(named)
    for name in SCORED:
        if name in measures.names:
            found.setdefault(name, name)
    for measure, (model, weights) in models.items():
        similarity = _CLIP.get(model.removesuffix("-quickgelu"))
        if similarity and weights == "openai":
            found.setdefault(similarity, measure)
    for measure, kind in heads.items():
        if kind == _AESTHETIC:
            found.setdefault("aesthetic_score_laion_v2", measure)
    if _FACES in measures.names:
        found.setdefault("num_faces", _FACES)
    return {name: found[name] for name in SCORED if name in found}


def counter(name: str, vocabulary: bytes, path: str) -> WordPieces | BytePairs:
    """Counts tokens for a column of them. Raises InputError when the file is not what it takes."""
    return _TOKENS[name](vocabulary, path)


def table(rows: pa.Table, plan: Plan) -> pa.Table:
    """The columns of `plan.schema` for rows of `shard_inputs`."""
    captions = rows["caption"].combine_chunks()
    ids = rows["pair_id"].to_pylist()
    found: dict[str, Sequence[object] | pa.Array | pa.ChunkedArray] = {
        "id": _numbers(ids),
        "url": rows["url"],
        "text": captions,
        "width": rows["original_width"],
        "height": rows["original_height"],
        "image_phash": [f"{bits & (1 << 64) - 1:016x}" for bits in rows["hash64"].to_pylist()],
        "text_length": pc.utf8_length(captions),
        "word_count": pc.count_substring_regex(captions, _WORD),
        "key": [pair_id.hex() for pair_id in ids],
        **{name: rows[measure] for name, measure in plan.sources.items()},
    }
    for name, vocabulary in plan.vocabularies.items():
        count = _counter(name, vocabulary).count
        found[name] = [count(text) for text in captions.to_pylist()]
    schema = plan.schema
    return pa.table([_typed(found[f.name], f.type) for f in schema], schema=schema)


def _numbers(pair_ids: list[bytes]) -> pa.Array:
    """The first 63 bits of each as a number from 0."""
    firsts = np.frombuffer(b"".join(i[:8] for i in pair_ids), ">u8")
    return pa.array((firsts >> np.uint64(1)).astype(np.int64))


def _typed(values: Sequence[object] | pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind, safe=False)  # a count may come as a float
    return pa.array(values, kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


@lru_cache(maxsize=2)
def _counter(name: str, vocabulary: bytes) -> WordPieces | BytePairs:
    """Once a process: a vocabulary has some 50,000 lines."""
    return counter(name, vocabulary, name)
