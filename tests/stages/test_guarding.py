"""Growing and guarding, through the stages: real pictures, lists of them, and two releases."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import filters
from jobs import hash_pack, register
from pipeline.core import ids
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.raw import RawTar
from pipeline.core.run import load_config, run
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    CAPTION,
    EMBEDDINGS,
    IMAGES,
    LISTED,
    PAIRS,
    RELEASED_NEIGHBORS,
)
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.settings import DownloadSection
from pipeline.match import registry
from pipeline.match.lists import ListSection
from pipeline.stages import dedupe, guarding, match
from pipeline.stages.line import LINE
from tests.match.hashes import balanced, balanced64, flip, flip256, images_table, picture
from tests.match.test_registry import rows as registered
from tests.stages.test_score import jpeg, value

WHITE = Image.new("RGB", (320, 240), "white")


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def recompressed(body: bytes) -> bytes:
    return as_jpeg(Image.open(io.BytesIO(body)), 40)


def image_row(name: str, body: bytes) -> dict[str, Any]:
    """A row of `images` as the download gives it."""
    found = decode(body, DecodeSettings(md5=True))
    assert found.status == "ok"
    row = {f.name: getattr(found, f.name, None) for f in IMAGES.schema}
    row |= {"image_id": ids.image_id(name), "part": 0, "consent": "allowed", "downloads": 1}
    return row | {"fetch_ms": 1, "fetched_at": 0, "raw_round": 0, "body_bytes": len(body)}


def write_run(root: Path, bodies: dict[str, bytes]) -> Store:
    """A run up to its download: every picture with one caption, `a picture named <name>`."""
    store = Store(str(root))
    images, candidates, pairs = [], [], []
    with store.publish("raw/part-00000.tar") as file:
        tar = RawTar(file)  # type: ignore[arg-type]
        for name, body in bodies.items():
            row = image_row(name, body)
            offset = tar.append(row["image_id"], body)
            images.append(row | {"raw_offset": offset, "raw_bytes": len(body)})
            caption = f"a picture named {name}"
            pair = {"pair_id": ids.pair_id(row["image_id"], caption), "caption": caption}
            pair |= {"caption_lang": "en", "image_id": row["image_id"], "url": name}
            caption_row = {f.name: value(f, pair) for f in CAPTION}
            known = {"image_id": row["image_id"], "url": name, "captions": [caption_row]}
            candidates.append({f.name: value(f, known) for f in CANDIDATES.schema})
            pairs.append({f.name: value(f, pair) for f in PAIRS.schema})
        tar.close()
    for table, rows in ((IMAGES, images), (PAIRS, pairs)):
        with store.publish_part(table, 0) as sink:
            sink.write_rows(rows)
    part = pa.Table.from_pylist(candidates, CANDIDATES.schema).drop_columns(["part"])
    with store.publish("candidates/part=0/rows.parquet") as file:
        pq.write_table(part, file)
    for stage in ("extract", "dedupe", "download"):
        record = {"stage": stage, "state": "done", "id": stage, "config": {}, "inputs": {}}
        store.write_json(f"_stages/{stage}.json", record | {"accounts": [], "seconds": 0})
    return store


def write_recipe(root: Path, lists: dict[str, tuple[str, Path]], more: str = "") -> Path:
    text = f"""
    [run]
    root = "{root / "run"}"
    web = "live"
    [download]
    contact = "crawl@example.org"
    [shard]
    name = "first"
    [filters.evaluation_match]
    {more}
    """
    for name, (kind, path) in lists.items():
        text += f'\n[match.lists.{name}]\nkind = "{kind}"\npath = "{path}"\n'
    (root / "recipe.toml").write_text(text)
    return root / "recipe.toml"


def load(recipe: Path) -> Any:
    return load_config(str(recipe), [], LINE, filters.load(), {})


def in_release(store: Store) -> set[str]:
    tars = store.fs.glob(store.path("release", "*.tar"))
    content = b"".join(store.fs.cat_file(tar) for tar in tars)
    return {name for name in NAMES if f"a picture named {name}".encode() in content}


@pytest.fixture(autouse=True)
def _few_tasks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small shuffles: each task costs more than all its rows here."""
    if "spark" not in request.fixturenames:
        yield
        return
    conf = request.getfixturevalue("spark").conf
    before = conf.get("spark.sql.shuffle.partitions")
    conf.set("spark.sql.shuffle.partitions", "2")
    yield
    conf.set("spark.sql.shuffle.partitions", before)


NAMES = ("plain", "blocked", "alike", "tested", "flat", "other")


@pytest.mark.spark
def test_lists_from_the_pack_to_the_report(spark: Any, tmp_path: Path) -> None:
    bodies = {name: jpeg(seed)[0] for seed, name in enumerate(NAMES)}
    bodies["flat"] = as_jpeg(WHITE, 90)
    (tmp_path / "eval" / "deep").mkdir(parents=True)
    (tmp_path / "eval" / "deep" / "t.png.jpg").write_bytes(recompressed(bodies["tested"]))
    (tmp_path / "eval" / "white.jpg").write_bytes(as_jpeg(WHITE, 50))
    packed = tmp_path / "eval.parquet"
    hash_pack.write_pack(str(tmp_path / "eval"), str(packed), DecodeSettings(), 1)
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    (blocks / "a.sha256").write_text(hashlib.sha256(bodies["blocked"]).hexdigest())
    near = image_row("x", recompressed(bodies["alike"]))["hash256"]
    (blocks / "b.pdq").write_text(near.hex())
    recipe = write_recipe(tmp_path, {"no": ("block", blocks), "test": ("evaluation", packed)})
    store = write_run(tmp_path / "run", bodies)
    names = ("match", "score", "cluster", "measure", "decide", "shard", "report")
    accounts = {
        (record["stage"], account["unit"]): account
        for record in run(names, LINE, load(recipe))
        for account in record["accounts"]
    }

    by_name = {image_row(n, b)["fingerprint"]: n for n, b in bodies.items()}
    listed = pq.read_table(store.path(LISTED.name)).to_pylist()
    assert {(by_name[r["fingerprint"]], r["list"], r["kind"], r["rule"]) for r in listed} == {
        ("blocked", "no", "block", "sha256"),
        ("alike", "no", "block", "hash256"),
        ("tested", "test", "evaluation", "hash256"),
    }
    assert accounts["match", "unlisted_pictures"]["dropped"] == {
        "blocked": 2,
        "evaluation_match": 1,
    }
    assert accounts["score", "pictures"]["dropped"] == {"blocked": 2}
    assert accounts["measure", "pairs"]["dropped"] == {"blocked": 2}
    assert accounts["decide", "pairs"]["dropped"] == {"is_evaluation_match_high": 1}
    assert in_release(store) == {"plain", "flat", "other"}
    vectors = pq.read_table(store.path(EMBEDDINGS.name)).filter(pa.compute.field("kind") == "image")
    contents = {hashlib.sha256(bodies[n]).digest()[:16] for n in NAMES} - {
        hashlib.sha256(bodies[n]).digest()[:16] for n in ("blocked", "alike")
    }
    assert set(vectors.column("content_id").to_pylist()) == contents
    measured = pq.read_table(store.path("measures")).column("caption").to_pylist()
    report = (tmp_path / "run" / "report" / "report.html").read_text()
    for name in ("blocked", "alike"):
        assert f"a picture named {name}" not in measured
        assert f"a picture named {name}" not in report
    assert "a picture named plain" in report

    assert "a.sha256" not in json.dumps(store.read_json("_stages/match.json"))
    (blocks / "a.sha256").write_text(hashlib.sha256(bodies["other"]).hexdigest())
    with pytest.raises(ConfigError, match=r"lists\.no\.sha256"):
        run(["match"], LINE, load(recipe))
    _grow(spark, tmp_path, recipe, bodies)


def _grow(spark: Any, tmp_path: Path, recipe: Path, bodies: dict[str, bytes]) -> None:
    """Register the release, and match another run against it."""
    held = tmp_path / "registry"
    argv = ["--config", str(recipe), "--registry", str(held)]
    assert register.main(argv) == 0
    before = {str(f): f.read_bytes() for f in held.rglob("*") if f.is_file()}
    assert register.main([*argv, "--name", "again"]) == 0, "it holds it already"
    assert {str(f): f.read_bytes() for f in held.rglob("*") if f.is_file()} == before

    ours = dedupe.registry_files(dedupe.DedupeSection(registry=str(held)))
    ids_held = {i for f in ours for i in pq.read_table(f).column("image_id").to_pylist()}
    assert ids_held == {ids.image_id(n) for n in ("plain", "flat", "other")}

    new = {f"new {name}": recompressed(bodies[name]) for name in ("plain", "tested")}
    new |= {"same flat": bodies["flat"], "new flat": as_jpeg(WHITE, 30)}
    rows = [image_row(name, body) for name, body in new.items()]
    ctx, accounts = matched(spark, tmp_path / "second", rows, registry=str(held))
    found = pq.read_table(ctx.store.path(RELEASED_NEIGHBORS.name)).to_pylist()
    names = {row["fingerprint"]: name for name, row in zip(new, rows, strict=True)}
    assert {(names[r["fingerprint"]], r["released_image_id"], r["release"]) for r in found} == {
        ("new plain", ids.image_id("plain"), "first"),
        ("same flat", ids.image_id("flat"), "first"),
    }
    assert accounts["new_pictures"] == {"released": 2}


def matched(
    spark: Any, root: Path, rows: list[dict[str, Any]], **config: Any
) -> tuple[Context[Any], dict[str, dict[str, int]]]:
    """Run the match stage; its context and what its accounts drop."""
    store = Store(str(root))
    with store.publish_part(IMAGES, 0) as sink:
        sink.write(images_table(rows))
    section = match.MatchSection(audit_rows=0, **config)
    guarding.check(section)
    sections = {"run": RunSection(root=str(root)), "match": section, "download": DownloadSection()}
    ctx: Context[Any] = Context("match", spark, store, section, sections, {})
    accounts = match.build(ctx)
    for account in accounts:
        account.check("match")
    return ctx, {a.unit: dict(a.dropped) for a in accounts}


@pytest.mark.spark
def test_a_registry_grown_in_two_steps_gives_what_one_gives(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    old, wide = balanced64(rng, 60), [bytes(h) for h in balanced(rng, 60, 256)]
    released = registered(old, "old").set_column(3, "hash256", pa.array(wide, pa.binary()))
    assert released.schema.names[3] == "hash256"
    for steps in ((60,), (25, 60)):
        held = registry.Registry(Store(str(tmp_path / f"registry{len(steps)}")))
        start = 0
        for end in steps:
            held = add_with_spark(spark, held, released.slice(start, end - start), f"until {end}")
            start = end
    hashes = [flip(int(h), (3, 30, 60)[: i % 5]) for i, h in enumerate(old)]
    rows = [picture(f"n{i}", h, flip256(wide[i], 7)) for i, h in enumerate(hashes)]
    rows[3] |= {"hash256": flip256(wide[3], 100)}
    rows[4] |= {"original_width": 1280}
    rows[5] |= {"texture": 3}
    rows[6] |= {"fingerprint": released.column("fingerprint")[6].as_py(), "texture": 3}
    for row in rows:
        row["original_height"] = row["original_width"] if row is not rows[4] else 480
    found = []
    for steps in (1, 2):
        folder = str(tmp_path / f"registry{steps}")
        ctx, accounts = matched(spark, tmp_path / f"run{steps}", rows, registry=folder)
        got = pq.read_table(ctx.store.path(RELEASED_NEIGHBORS.name)).drop_columns(["release"])
        found.append(got.sort_by("fingerprint").to_pylist())
        assert accounts["new_pictures"] == {"released": 57}
    assert found[0] == found[1]
    expected = {
        r["fingerprint"]: (b"old%d" % i).ljust(16, b".")
        for i, r in enumerate(rows)
        if i not in (3, 4, 5)
    }
    assert {r["fingerprint"]: r["released_image_id"] for r in found[0]} == expected
    by_distance = {r["fingerprint"]: (r["distance"], r["distance256"]) for r in found[0]}
    assert by_distance[rows[2]["fingerprint"]] == (2, 7)
    assert by_distance[rows[6]["fingerprint"]] == (0, 0), "equal fingerprints, whatever the hashes"


def add_with_spark(
    spark: Any, held: registry.Registry, rows: pa.RecordBatch, name: str
) -> registry.Registry:
    from pipeline.stages.register import _write_table

    frame = spark.createDataFrame(pa.Table.from_batches([rows]))
    release_id = hashlib.sha256(name.encode()).hexdigest()
    # What an interrupted addition left is not seen, and goes with the next one.
    held.store.write_json(f"hash64_1/{release_id[:32]}/00007.parquet", {})
    files = {t.name: _write_table(held.store, t, frame, release_id, 2, 20) for t in registry.TABLES}
    assert not held.store.exists(f"hash64_1/{release_id[:32]}/00007.parquet")
    grown = held.with_release(registry.Release(name, release_id, rows.num_rows, files))
    assert registry.load(held.store.root).releases == grown.releases
    return grown


@pytest.mark.spark
def test_md5_lists_need_md5_of_the_pictures(spark: Any, tmp_path: Path) -> None:
    bodies = [jpeg(seed)[0] for seed in range(2)]
    rows = [image_row(f"n{i}", body) for i, body in enumerate(bodies)]
    path = tmp_path / "list.md5"
    path.write_text(hashlib.md5(bodies[1]).hexdigest())
    lists = {"theirs": ListSection(kind="block", path=str(path))}
    ctx, accounts = matched(spark, tmp_path / "a", rows, lists=lists)
    assert accounts["unlisted_pictures"] == {"blocked": 1}
    (found,) = pq.read_table(ctx.store.path(LISTED.name)).to_pylist()
    assert (found["fingerprint"], found["rule"]) == (rows[1]["fingerprint"], "md5")
    rows[0]["md5"] = None
    with pytest.raises(ConfigError, match=r"theirs holds MD5.*1 pictures have none.*download\.md5"):
        matched(spark, tmp_path / "b", rows, lists=lists)


def test_what_is_wrong_is_told_before_spark_starts(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text(
        '{"format": "pairmill-registry-1", "hash_version": "old-1", "releases": []}'
    )
    with pytest.raises(InputError, match="'old-1'"):
        guarding.check(match.MatchSection(registry=str(tmp_path)))
    bad = ListSection(kind="block", path=str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"match\.lists\.x"):
        guarding.check(match.MatchSection(lists={"x": bad}))
