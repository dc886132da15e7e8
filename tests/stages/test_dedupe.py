"""Rows of PAIRS in, candidates and accounts out, through Spark."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.ids import image_id, pair_id
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, PAIRS
from pipeline.stages.dedupe import STAGE, DedupeSection, build, check

pytestmark = pytest.mark.spark


def pair(path: str, caption: str, page: str, **more) -> dict:
    domain = more.get("domain", "cdn.example")
    canonical = f"https://{domain}/{path}"
    image = image_id(canonical)
    return {
        "image_id": image,
        "pair_id": pair_id(image, caption),
        "url": canonical + more.get("fragment", ""),
        "canonical_url": canonical,
        "domain": domain,
        "caption": caption,
        "caption_kind": more.get("kind", "alt"),
        "page_url": f"https://{page}/",
        "page_domain": page,
        "page_lang": more.get("lang"),
        "page_optout": more.get("optout"),
        "archive": more.get("archive", "a"),
        "record_offset": 0,
        "position": 0,
    }


def dedupe(spark, root: Path, rows: list[dict], files: int = 2, **settings):
    """(candidates by canonical URL, accounts by unit, part -> rows in file order)."""
    store = Store(str(root))
    for part in range(files):
        with store.publish_part(PAIRS, part) as sink:
            sink.write_rows(rows[part::files])
    section = DedupeSection(**settings)
    ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
    accounts = {a.unit: a for a in build(ctx)}
    for account in accounts.values():
        account.check("dedupe")
    parts = {}
    for folder in sorted(Path(root, "candidates").glob("part=*")):
        (file,) = folder.glob("*.parquet")  # exactly one
        parts[int(folder.name[5:])] = pq.ParquetFile(file).read().to_pylist()
    found = {row["canonical_url"]: row for rows in parts.values() for row in rows}
    assert ctx.read(CANDIDATES).count() == len(found)
    return found, accounts, parts


def test_captions_of_one_image_are_gathered(spark, tmp_path: Path) -> None:
    rows = [
        pair("x", "a dog", "p2.example", fragment="#2", kind="title", lang="en"),
        pair("x", "a dog", "p1.example", fragment="#1", lang="ko"),
        pair("x", "a dog", "p1.example", optout="meta:noai", archive="b", lang="ko"),
        pair("x", "a cat", "p1.example"),
        pair("y", "a dog", "p1.example"),
    ]
    found, accounts, _ = dedupe(spark, tmp_path, rows)
    x, y = found["https://cdn.example/x"], found["https://cdn.example/y"]
    assert x["url"] == "https://cdn.example/x" and x["page_optout"] == "meta:noai"
    assert y["page_optout"] is None
    captions = {c["caption"]: c for c in x["captions"]}
    assert list(c["pair_id"] for c in x["captions"]) == sorted(c["pair_id"] for c in x["captions"])
    assert captions["a dog"] == {
        "pair_id": rows[0]["pair_id"],
        "caption": "a dog",
        "caption_kind": "alt",
        "page_url": "https://p1.example/",
        "page_domain": "p1.example",
        "page_lang": "ko",
        "pages": 2,
        "caption_images": 2,
    }
    assert captions["a cat"]["pages"] == captions["a cat"]["caption_images"] == 1
    assert (accounts["pairs"].rows_in, accounts["pairs"].kept) == (5, 3)
    assert accounts["pairs"].dropped == {"duplicate_pair": 2}
    assert (accounts["images"].rows_in, accounts["images"].kept) == (2, 2)


def _many(count: int, seed: int = 1) -> list[dict]:
    rng = random.Random(seed)
    return [
        pair(
            f"{rng.randrange(150)}",
            f"caption {rng.randrange(60)}",
            f"p{rng.randrange(30)}.example",
            domain=rng.choice(["giant.example"] * 4 + ["a.example", "b.example"]),
        )
        for _ in range(count)
    ]


def test_result_does_not_depend_on_order_or_partitions(spark, tmp_path: Path) -> None:
    rows = _many(600)
    first = dedupe(spark, tmp_path / "a", rows, files=1, parts=5, giant_domain_images=90)
    shuffled = random.Random(2).sample(rows, len(rows))
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        second = dedupe(spark, tmp_path / "b", shuffled, files=4, parts=5, giant_domain_images=90)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert first[2] == second[2]
    assert first[1] == second[1]


def test_domains_stay_together_but_giants_are_spread(spark, tmp_path: Path) -> None:
    _, _, parts = dedupe(spark, tmp_path, _many(600), parts=5, giant_domain_images=100)
    homes: dict[str, set[int]] = {}
    for part, rows in parts.items():
        assert [r["image_id"] for r in rows] == sorted(r["image_id"] for r in rows)
        for row in rows:
            homes.setdefault(row["domain"], set()).add(part)
    assert homes["giant.example"] == {0, 1, 2, 3, 4}
    assert len(homes["a.example"]) == len(homes["b.example"]) == 1


def test_registered_images_are_dropped_and_counted(spark, tmp_path: Path) -> None:
    rows = [pair("x", "a", "p"), pair("x", "b", "p"), pair("x", "b", "q"), pair("y", "a", "p")]
    registry = tmp_path / "registry.parquet"
    pq.write_table(pa.table({"image_id": [image_id("https://cdn.example/x")] * 2}), registry)
    found, accounts, _ = dedupe(spark, tmp_path / "run", rows, registry=str(registry))
    assert list(found) == ["https://cdn.example/y"]
    assert found["https://cdn.example/y"]["captions"][0]["caption_images"] == 1
    assert accounts["pairs"].dropped == {"registered": 2, "duplicate_pair": 1}
    assert accounts["images"].dropped == {"registered": 1}


def test_missing_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no registry at dedupe\.registry"):
        check(DedupeSection(registry=str(tmp_path / "none.parquet")))
