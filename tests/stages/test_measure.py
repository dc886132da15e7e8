"""`measure` on small tables: which pairs come out, with what, and what is counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.caption_length import CaptionLength
from filters.caption_words import CaptionWords
from filters.clip_similarity import ClipSimilarity
from filters.image_bytes import ImageBytes
from filters.image_size import ImageSize
from pipeline.core.config import Config, RunSection
from pipeline.core.context import Context
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
from pipeline.match.listed import evaluation_lists
from pipeline.stages import measure
from pipeline.stages.measure import STAGE, MeasureSection

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
        {"pair_id": pair["pair_id"], "image_id": c["image_id"], "clip_similarity": 0.3}
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
def test_only_what_filters_read_goes_to_python_and_once(spark: Any, store: Store) -> None:
    ctx = context(spark, store, FILTERS)
    tables = (ctx.read(table) for table in (CANDIDATES, IMAGES, SCORES, SEMANTICS))
    pairs = measure.view(*tables, evaluation_lists(ctx.read(LISTED)))
    plan = _plan(measure.add_measures(pairs, FILTERS))
    assert plan.count("ArrowEvalPython") == 1
    assert plan.count("measure_batch(") == plan.count("measure_batch(caption") > 0
    bounds_only: dict[str, Filter] = {"image_bytes": ImageBytes()}
    assert "Python" not in _plan(measure.add_measures(pairs, bounds_only))


@pytest.mark.spark
def test_what_further_models_and_scorers_found_is_beside_the_pair_view(
    spark: Any, store: Store
) -> None:
    ctx = context(spark, store, FILTERS)
    candidates, images, scores, semantics = (
        ctx.read(table) for table in (CANDIDATES, IMAGES, SCORES, SEMANTICS)
    )
    scores = scores.selectExpr("*", "clip_similarity + 1 AS clip_similarity_other")
    pictures = semantics.selectExpr("content_id", "semantic_similarity * 2 AS sharpness")
    listed = evaluation_lists(ctx.read(LISTED))
    found = measure.view(candidates, images, scores, semantics, listed, pictures)
    assert found.columns == [*PAIR_VIEW.names, "clip_similarity_other", "sharpness"]
    rows = {row["caption"]: row for row in found.toArrow().to_pylist()}
    assert {c: row["sharpness"] for c, row in rows.items()} == {
        "a brown dog": 1.0,
        "갈색 개": 1.0,
        "black cat": None,
        "x": 1.5,
    }
    assert all(row["clip_similarity_other"] > 1.2 for row in rows.values())


def _plan(rows: Any) -> str:
    return str(rows._jdf.queryExecution().sparkPlan().toString())


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
    with pytest.raises(measure.ContractError, match="caption_chars is string"):
        measure.measure_all(batch, (Wrong(),))
