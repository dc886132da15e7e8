"""`measure` on small tables: which pairs come out, with what, and what is counted."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from filters.caption_length import CaptionLength
from filters.caption_words import CaptionWords
from filters.clip_similarity import ClipSimilarity
from filters.image_bytes import ImageBytes
from filters.image_size import ImageSize
from pipeline.core.config import Config, RunSection
from pipeline.core.context import Context
from pipeline.core.errors import ContractError
from pipeline.core.filter import Filter, measured_fields
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    IMAGES,
    LISTED,
    PAIR_VIEW,
    SCORES,
    SEMANTICS,
    Table,
    measures_table,
)
from pipeline.stages import measure
from pipeline.stages.measure import STAGE, MeasureSection
from pipeline.stages.measure_part import Beside, inputs_table, measure_all

PARTS = 2
FILTERS: dict[str, Filter] = {
    "caption_length": CaptionLength(),
    "image_bytes": ImageBytes(),
    "image_size": ImageSize(min_side=1),
    "caption_words": CaptionWords(),
}


def key(number: int, kind: str) -> bytes:
    return f"{kind}{number:015d}".encode()


def image(number: int, status: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(IMAGES.schema.names)
    row |= {"image_id": key(number, "i"), "part": number % PARTS, "status": status}
    row |= {"consent": "allowed", "fetch_ms": 5, "fetched_at": 0, "downloads": 1}
    if status == "ok":
        row |= {"format": "JPEG", "frames": 1, "body_bytes": 9000, "texture": 50}
        row |= {"hash64": number - 1}
        row |= {"raw_round": 0, "raw_offset": 512}
        row |= {"original_width": 640, "original_height": 480 + number, "width": 320, "height": 240}
        row |= {"fingerprint": b"f" * 16, "sha256": key(number, "s") * 2, "raw_bytes": 4000}
    return row


def candidate(number: int, captions: list[str]) -> dict[str, Any]:
    url = f"https://example.com/{number}.jpg"
    spoken = [
        {
            "pair_id": key(10 * number + i, "p"),
            "caption": caption,
            "caption_kind": "alt",
            "caption_kinds": 1,
            "caption_lang": "en",
            "caption_lang_confidence": 0.5,
            "page_url": "https://example.org/",
            "page_domain": "example.org",
            "page_lang": None,
            "page_lang_detected": "en",
            "pages": 1 + i,
            "caption_images": 1,
            "caption_domains": 1,
            "caption_domain_images": 1,
            "caption_pattern_pairs": 1,
        }
        for i, caption in enumerate(captions)
    ]
    return {
        "image_id": key(number, "i"),
        "url": url,
        "canonical_url": url,
        "domain": "example.com",
        "page_optout": None,
        "pages": 7,
        "page_domains": 1,
        "captions": spoken,
        "part": number % PARTS,
    }


def alike(number: int, similarity: float) -> dict[str, Any]:
    row = {"content_id": key(number, "s"), "cluster": 0, "centroid_similarity": 0.9}
    return row | {"semantic_similarity": similarity}


STATUSES = ["ok", "http_404", "ok", "robots", "ok"]
CAPTIONS = [["a brown dog", "갈색 개"], ["a", "b", "c"], ["black cat"], ["d"], ["no score", "x"]]
UNSCORED = {key(40, "p")}


def write(store: Store, table: Table, rows: list[dict[str, Any]]) -> None:
    for part in range(PARTS):
        mine = pa.Table.from_pylist(
            [row for row in rows if row.get("part", part) == part], schema=table.schema
        )
        name = store.part_file(table, part)
        if table.partition:
            mine = mine.drop_columns([table.partition])
            name = f"{table.name}/{table.partition}={part}/rows.parquet"
        elif "part" not in table.schema.names and part:
            continue
        with store.publish(name) as file:
            pq.write_table(mine, file)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("run")))
    candidates = [candidate(n, captions) for n, captions in enumerate(CAPTIONS)]
    write(store, CANDIDATES, candidates)
    write(store, IMAGES, [image(n, status) for n, status in enumerate(STATUSES)])
    scores = [
        {
            "pair_id": pair["pair_id"],
            "image_id": c["image_id"],
            "part": c["part"],
            "clip_similarity": 0.3,
        }
        for c, status in zip(candidates, STATUSES, strict=True)
        for pair in c["captions"]
        if status == "ok" and pair["pair_id"] not in UNSCORED
    ]
    write(store, SCORES, scores)
    write(store, SEMANTICS, [alike(0, 0.5), alike(4, 0.75), alike(9, 1.0)])
    write(store, LISTED, [])
    return store


def context(spark: Any, store: Store, filters: dict[str, Filter]) -> Context[MeasureSection]:
    section = MeasureSection()
    return Context("measure", spark, store, section, {"measure": section}, filters)


@pytest.mark.spark
def test_rows_measures_and_accounts(spark: Any, store: Store) -> None:
    (account,) = measure.build(context(spark, store, FILTERS))
    account.check("measure")
    assert (account.rows_in, account.kept) == (9, 4)
    assert account.dropped == Counter(http_404=3, robots=1, no_score=1)

    table = measures_table(measured_fields(FILTERS))
    rows = context(spark, store, FILTERS).read(table).toArrow().sort_by("pair_id").to_pylist()
    assert [(r["caption"], r["caption_chars"], r["caption_words"]) for r in rows] == [
        ("a brown dog", 11, 3),
        ("갈색 개", 4, 2),
        ("black cat", 9, 2),
        ("x", 1, 1),
    ]
    assert [r["image_min_side"] for r in rows] == [480, 480, 482, 484]
    assert [r["part"] for r in rows] == [0, 0, 0, 0]
    assert [r["semantic_similarity"] for r in rows] == [0.5, 0.5, None, 0.75]
    assert {r["url"] for r in rows} == {f"https://example.com/{n}.jpg" for n in (0, 2, 4)}


@pytest.mark.spark
def test_a_part_that_is_there_is_not_measured_again(spark: Any, store: Store) -> None:
    ctx = context(spark, store, FILTERS)
    table = measures_table(measured_fields(FILTERS))
    first = measure.build(ctx)
    rows = ctx.read(table).toArrow().sort_by("pair_id")
    assert len(store.committed(table)) == PARTS
    assert not store.exists(inputs_table().name)
    before = Path(store.path(store.part_file(table, 0))).stat()
    store.remove(store.part_file(table, 1))
    assert measure.build(ctx) == first
    assert Path(store.path(store.part_file(table, 0))).stat() == before
    assert ctx.read(table).toArrow().sort_by("pair_id") == rows


@pytest.mark.spark
def test_what_is_found_by_content_comes_to_its_pairs(spark: Any, store: Store) -> None:
    ctx = context(spark, store, FILTERS)
    scores, semantics = ctx.read(SCORES), ctx.read(SEMANTICS)
    images = ctx.read(IMAGES).withColumn("fingerprint", F.col("image_id"))
    rows = [
        {"fingerprint": key(n, "i"), "list": name, "kind": kind, "rule": "sha256", "distance": 0}
        for n, name, kind in ((0, "ours", "block"), (2, "b", "evaluation"), (2, "a", "evaluation"))
    ]
    found = measure.found_by_content(
        images,
        scores.selectExpr("*", "clip_similarity + 1 AS clip_similarity_other"),
        semantics,
        spark.createDataFrame(pa.Table.from_pylist(rows, LISTED.schema)),
        semantics.selectExpr("content_id", "semantic_similarity * 2 AS sharpness"),
    )
    others = [pa.field("clip_similarity_other", pa.float32()), pa.field("sharpness", pa.float32())]
    assert set(found.columns) == set(inputs_table(others).schema.names)
    by_image: dict[bytes, list[Any]] = {}
    for row in found.toArrow().to_pylist():
        by_image.setdefault(row["image_id"], []).append(row)
    assert by_image.keys() == {key(0, "i"), key(2, "i"), key(4, "i")}
    assert {row["pair_id"] for row in by_image[key(0, "i")]} == {None}  # blocked
    (known,), (further,) = by_image[key(2, "i")], by_image[key(4, "i")]
    assert known["evaluation_list"] == "a" and further["evaluation_list"] is None
    assert known["sharpness"] is None and further["sharpness"] == 1.5
    assert known["clip_similarity_other"] > 1.2 and further["semantic_similarity"] == 0.75
    assert (known["pair_id"], further["pair_id"]) == (key(20, "p"), key(41, "p"))


@pytest.mark.spark
def test_lists_alone_and_nothing_at_all(spark: Any, store: Store) -> None:
    ctx = context(spark, store, FILTERS)
    scores = ctx.read(SCORES)
    images = ctx.read(IMAGES).withColumn("fingerprint", F.col("image_id"))
    nothing = ctx.read(SEMANTICS).where("false")
    rows = [
        {"fingerprint": key(n, "i"), "list": "a", "kind": kind, "rule": "sha256", "distance": 0}
        for n, kind in ((0, "block"), (2, "evaluation"))
    ]
    listed = spark.createDataFrame(pa.Table.from_pylist(rows, LISTED.schema))
    names = inputs_table().schema.names
    found = measure.found_by_content(images, scores, nothing, listed).select(*names).toArrow()
    told = [(r["image_id"], r["pair_id"], r["evaluation_list"]) for r in found.to_pylist()]
    assert len(told) == 3 and set(told) == {
        (key(0, "i"), None, None),
        (key(2, "i"), key(20, "p"), "a"),
        (key(4, "i"), key(41, "p"), None),
    }
    found = measure.found_by_content(images, scores, nothing, listed.where("false"))
    plain = found.select(*names).toArrow().to_pylist()
    assert {r["pair_id"] for r in plain} == {r.pair_id for r in scores.collect()}
    assert {(r["semantic_similarity"], r["evaluation_list"]) for r in plain} == {(None, None)}
    assert {r["part"] for r in plain} == {0}


Images = list[tuple[str, bool, list[bool]]]


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.lists(
        st.tuples(
            st.sampled_from(["ok", "ok", "http_404"]),
            st.booleans(),
            st.lists(st.booleans(), max_size=9),  # ids have a digit for them
        ),
        max_size=8,
    ),
    seed=st.integers(0, 99),
    step=st.integers(1, 4),
)
def test_every_pair_is_measured_or_dropped_for_one_reason(
    chosen: Images, seed: int, step: int
) -> None:
    """chosen: for each image its status, whether it is blocked, whether each caption has a score.
    The other tables are in any order, the candidates come in steps."""
    order = random.Random(seed)
    rows, expected, wanted = [], list[tuple[bytes, bytes, str, int]](), Counter[str]()
    found = list[dict[str, Any]]()
    for n, (status, is_blocked, captions) in enumerate(chosen):
        rows.append(candidate(n, [f"caption {i}" for i in range(len(captions))]))
        if status == "ok" and is_blocked:
            found.append({"image_id": key(n, "i"), "pair_id": None})
        for pair, is_scored in zip(rows[-1]["captions"], captions, strict=True):
            if status != "ok" or is_blocked:
                wanted["blocked" if status == "ok" else status] += 1
            elif not is_scored:
                wanted["no_score"] += 1
            else:
                found.append({"image_id": key(n, "i"), "pair_id": pair["pair_id"]})
                expected.append((key(n, "i"), pair["pair_id"], pair["caption"], 480 + n))
    images = [image(n, status) for n, (status, *_) in enumerate(chosen)]
    order.shuffle(images)
    order.shuffle(found)
    candidates = pa.RecordBatch.from_pylist(rows, CANDIDATES.schema)
    beside = Beside(
        candidates,
        pa.RecordBatch.from_pylist(images, IMAGES.schema),
        pa.RecordBatch.from_pylist(found, inputs_table().schema),
    )
    account = beside.account()
    account.check("measure")
    assert (account.kept, account.dropped) == (len(expected), wanted)
    made = [
        row
        for start in range(0, len(rows), step)
        for row in beside.view(candidates.slice(start, step), start, PAIR_VIEW).to_pylist()
    ]
    names = ("image_id", "pair_id", "caption", "original_height")
    assert [tuple(row[name] for name in names) for row in made] == expected


def test_a_candidate_must_have_an_image() -> None:
    found = pa.RecordBatch.from_pylist([], inputs_table().schema)
    images = pa.RecordBatch.from_pylist([image(1, "ok")], IMAGES.schema)
    rows = [candidate(n, ["a"]) for n in range(3)]
    with pytest.raises(ContractError, match="2 candidates have no row in images"):
        Beside(pa.RecordBatch.from_pylist(rows, CANDIDATES.schema), images, found)


@pytest.mark.spark
def test_an_empty_run(spark: Any, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for table in (CANDIDATES, IMAGES, SCORES, SEMANTICS, LISTED):
        write(store, table, [])
    (account,) = measure.build(context(spark, store, FILTERS))
    assert (account.rows_in, account.kept, account.dropped.total()) == (0, 0, 0)


def identity(stage: Stage, **filters: Filter) -> dict[str, Any]:
    sections = {"run": RunSection(root="r"), stage.name: MeasureSection()}
    return Config(sections, filters).identity(stage)


def test_bounds_do_not_change_what_is_measured() -> None:
    base = identity(STAGE, caption_length=CaptionLength())
    assert base == identity(STAGE, caption_length=CaptionLength(min_chars=1, max_chars=9))
    assert base == identity(STAGE, caption_length=CaptionLength(), clip_similarity=ClipSimilarity())
    assert base != identity(STAGE, caption_length=CaptionLength(), caption_words=CaptionWords())


def test_settings_that_change_a_measure_do() -> None:
    from filters.caption_repetition import CaptionRepetition

    base = identity(STAGE, caption_repetition=CaptionRepetition())
    assert base == identity(STAGE, caption_repetition=CaptionRepetition(max_ratio=0.1))
    assert base != identity(STAGE, caption_repetition=CaptionRepetition(chars=5))


def test_every_setting_counts_for_a_stage_that_uses_filters() -> None:
    stage = Stage("decide", (), (), MeasureSection, measure.build, uses=("filters",))
    loose, tight = CaptionLength(), CaptionLength(min_chars=9)
    assert identity(stage, caption_length=loose) != identity(stage, caption_length=tight)


def test_a_filter_must_give_what_it_declares() -> None:
    class Wrong(CaptionLength):
        def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
            return [pa.array(["x"] * batch.num_rows)]

    batch = pa.record_batch({"caption": ["a"]})
    with pytest.raises(ContractError, match="caption_chars is string"):
        measure_all(batch, (Wrong(),))
