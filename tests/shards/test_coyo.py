"""COYO-700M's columns: what fills them, what they hold, and which are absent."""

from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.core.ids import image_id, pair_id
from pipeline.core.tables import column, measures_table
from pipeline.shards import coyo
from pipeline.shards.coyo import Plan
from tests.shards import coyo_rows

# The columns as COYO-700M's README gives them.
PUBLISHED = (
    "id url text width height image_phash text_length word_count num_tokens_bert num_tokens_gpt "
    "num_faces clip_similarity_vitb32 clip_similarity_vitl14 nsfw_score_opennsfw2 "
    "nsfw_score_gantman watermark_score aesthetic_score_laion_v2"
).split()
MADE = PUBLISHED[:8]

VOCABULARY = "\n".join(["[UNK]", "a", "red", "boat", "##s", ",", "한"]).encode()
MERGES = b"#version: 0.2\nr e\nre d\nb o\nbo a\n\xc4\xa0 boa\n"


def rows(*changes: dict[str, Any]) -> pa.Table:
    made = []
    for number, change in enumerate(changes):
        image = image_id(f"https://example.com/{number}.jpg")
        row = {
            "pair_id": pair_id(image, f"caption {number}"),
            "url": f"https://example.com/{number}.jpg",
            "caption": "a red boat",
            "original_width": 640,
            "original_height": 480,
            "width": 320,
            "height": 240,
            "hash64": number,
            "clip_similarity": 0.25,
        }
        made.append(row | change)
    return pa.Table.from_pylist(made)


def told(plan: Plan, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = coyo.table(rows(*changes), plan).to_pylist()
    return found


def test_the_columns_are_coyos_in_its_order() -> None:
    assert coyo.COLUMNS.names == PUBLISHED
    every = Plan({name: "clip_similarity" for name in coyo.SCORED}, {})
    assert every.schema.names == [n for n in PUBLISHED if "tokens" not in n] + ["key"]
    assert every.absent == ("num_tokens_bert", "num_tokens_gpt")


def test_what_cannot_be_made_is_absent_and_the_rest_never_null() -> None:
    (row,) = told(Plan({}, {}), {})
    assert list(row) == [*MADE, "key"]
    assert None not in row.values()
    assert Plan({}, {}).absent == tuple(PUBLISHED[8:])


def test_the_row_tells_the_published_picture_and_the_caption() -> None:
    (row,) = told(Plan({}, {}), {"caption": "Über 한국 boats,  3", "hash64": -(2**63) + 10})
    assert (row["width"], row["height"]) == (640, 480)
    assert (row["text_length"], row["word_count"]) == (17, 4)
    assert row["image_phash"] == "800000000000000a"
    assert row["key"] == rows({})["pair_id"][0].as_py().hex()


def test_lengths_and_words_are_those_that_coyo_publishes() -> None:
    found = told(Plan({}, {}), *({"caption": caption} for caption, *_ in coyo_rows.ROWS))
    assert [(r["text_length"], r["word_count"]) for r in found] == [
        (length, words) for _, length, words, *_ in coyo_rows.ROWS
    ]


def test_the_hash_reads_as_imagehash_writes_it() -> None:
    bits = np.random.Generator(np.random.PCG64(3)).random((8, 8)) > 0.5
    number = int("".join(map(str, bits.ravel().astype(int))), 2)
    signed = number - (1 << 64) if number >> 63 else number
    (row,) = told(Plan({}, {}), {"hash64": signed})
    assert row["image_phash"] == str(imagehash.ImageHash(bits))


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20, unique=True))
def test_ids_depend_on_the_pair_alone(captions: list[str]) -> None:
    ids = [pair_id(image_id("https://example.com/"), caption) for caption in captions]
    table = rows(*({"pair_id": i} for i in ids))
    found = {r["key"]: r["id"] for r in coyo.table(table, Plan({}, {})).to_pylist()}
    reversed_ = coyo.table(table.take(list(range(len(ids)))[::-1]), Plan({}, {}))
    assert {r["key"]: r["id"] for r in reversed_.to_pylist()} == found
    assert found == {i.hex(): int.from_bytes(i, "big") >> 65 for i in ids}


MEASURES = measures_table(
    [
        column("clip_similarity_large", pa.float32(), "of a further model"),
        column("num_faces", pa.int32(), "by the user's own scorer"),
        column("safety", pa.float64(), "likewise", null="not scored"),
        column("label", pa.string(), "no number"),
        column("taste_score", pa.float32(), "of a head", null="not scored"),
    ]
).schema


def sources(models: dict[str, tuple[str, str]] | None = None, **named: str) -> dict[str, str]:
    return coyo.sources(MEASURES, models or {}, {}, named)


def test_a_similarity_is_coyos_when_the_weights_are_openais() -> None:
    large = {"clip_similarity_large": ("ViT-L-14-quickgelu", "openai")}
    small = {"clip_similarity": ("ViT-B-32-quickgelu", "openai")}
    assert sources(small | large) == {
        "num_faces": "num_faces",
        "clip_similarity_vitb32": "clip_similarity",
        "clip_similarity_vitl14": "clip_similarity_large",
    }
    others = {"clip_similarity": ("ViT-B-32", "laion2b_s34b_b79k")}
    assert sources(others) == {"num_faces": "num_faces"}
    # Its weights from a file: only the user knows what they are.
    assert sources(others, clip_similarity_vitb32="clip_similarity") == {
        "num_faces": "num_faces",
        "clip_similarity_vitb32": "clip_similarity",
    }


def test_a_head_of_laions_second_predictor_and_a_count_of_faces_are_taken() -> None:
    assert coyo.sources(MEASURES, {}, {"taste_score": "aesthetic_v1"}, {}) == sources()
    found = coyo.sources(MEASURES, {}, {"taste_score": "aesthetic_v2"}, {})
    assert found["aesthetic_score_laion_v2"] == "taste_score"
    counted = pa.schema([column("face_count", pa.float32(), "by the user's own function")])
    assert coyo.sources(counted, {}, {}, {}) == {"num_faces": "face_count"}


def test_a_named_measure_fills_a_column() -> None:
    found = sources(nsfw_score_opennsfw2="safety")
    assert found["nsfw_score_opennsfw2"] == "safety"
    plan = Plan({"nsfw_score_opennsfw2": "safety", "num_faces": "faces"}, {})
    (row,) = told(plan, {"safety": 0.75, "faces": 2.0})
    assert (row["nsfw_score_opennsfw2"], row["num_faces"]) == (0.75, 2)
    assert coyo.table(rows({"safety": 0.75, "faces": 2.0}), plan).schema.equals(plan.schema)


@pytest.mark.parametrize("measure", ["nowhere", "label", "caption"])
def test_what_is_no_measured_number_is_refused(measure: str) -> None:
    with pytest.raises(ConfigError, match=f"watermark_score = '{measure}'.*safety"):
        sources(watermark_score=measure)


def test_tokens_are_counted_where_their_files_are_given() -> None:
    plan = Plan({}, {"num_tokens_bert": VOCABULARY, "num_tokens_gpt": MERGES})
    first, second = told(plan, {}, {"caption": "red boats"})
    assert [*first] == [*PUBLISHED[:10], "key"]
    assert (first["num_tokens_bert"], second["num_tokens_bert"]) == (3, 3)
    # a, Ġ red, Ġboa t; red, Ġboa t s
    assert (first["num_tokens_gpt"], second["num_tokens_gpt"]) == (5, 4)
