"""Rows of PAIRS in, candidates and accounts out, through Spark."""

import random
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.ids import image_id, pair_id
from pipeline.core.reasons import CaptionKind
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, CAPTION, PAIRS
from pipeline.stages.dedupe import STAGE, DedupeSection, build, check

pytestmark = pytest.mark.spark
KINDS = list(CaptionKind)


def pair(path: str, caption: str | None, page: str, **more) -> dict:
    """A row of PAIRS. more: domain, fragment, kinds, lang, optout, archive, offset, position."""
    domain = more.get("domain", "cdn.example")
    canonical = f"https://{domain}/{path}"
    image = image_id(canonical)
    kinds = more.get("kinds", 1)
    told = caption is not None
    return {
        "image_id": image,
        "pair_id": pair_id(image, caption) if told else None,
        "url": canonical + more.get("fragment", ""),
        "canonical_url": canonical,
        "domain": domain,
        "caption": caption,
        "caption_original": f" {caption}" if told and more.get("original") else None,
        "caption_kind": KINDS[(kinds & -kinds).bit_length() - 1].value if told else None,
        "caption_kinds": kinds if told else 0,
        "caption_lang": "en" if told else None,
        "caption_lang_confidence": 0.5 if told else None,
        "page_url": f"https://{page}",
        "page_domain": page.split("/")[0],
        "page_lang": more.get("lang"),
        "page_lang_detected": "und",
        "page_optout": more.get("optout"),
        "archive": more.get("archive", "a"),
        "record_offset": more.get("offset", 0),
        "position": more.get("position", 0),
    }


def dedupe(spark, root: Path, rows: list[dict], files: int = 2, store=None, **settings):
    """(candidates by canonical URL, accounts by unit, part -> rows in file order)."""
    store = store or Store(str(root))
    for part in range(files):
        with Store(str(root)).publish_part(PAIRS, part) as sink:
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
    assert ctx.read(CANDIDATES).count() == len(found) == accounts["images"].kept
    assert sorted(p.name for p in Path(root).iterdir()) == ["candidates", "pairs"]
    return found, accounts, parts


def oracle(rows: list[dict], registry: set[bytes] = frozenset(), cap: int = 1000):
    """(candidates by canonical URL without `part` and what one row was chosen for, the rows each
    caption may be told by, pairs account, images account), with dicts alone."""
    new = [r for r in rows if r["image_id"] not in registry]
    pages, images, domains = defaultdict(set), defaultdict(set), defaultdict(set)
    on_domain, told, of_image = defaultdict(set), defaultdict(list), defaultdict(list)
    for row in new:
        of_image[row["image_id"]].append(row)
        if row["pair_id"]:
            pages[row["pair_id"]].add(row["page_url"])
            images[row["caption"]].add(row["image_id"])
            domains[row["caption"]].add(row["page_domain"])
            on_domain[row["caption"], row["page_domain"]].add(row["image_id"])
            told[row["pair_id"]].append(row)
    found, over = {}, 0
    for image, of in of_image.items():
        ids = sorted({r["pair_id"] for r in of if r["pair_id"]}, key=lambda p: (-len(pages[p]), p))
        over += len(ids[cap:])
        if not ids:
            continue
        captions = [
            {
                "pair_id": pair,
                "caption": told[pair][0]["caption"],
                "caption_kinds": _any(r["caption_kinds"] for r in told[pair]),
                "pages": len(pages[pair]),
                "caption_images": len(images[told[pair][0]["caption"]]),
                "caption_domains": len(domains[told[pair][0]["caption"]]),
                "caption_domain_images": {
                    d: len(on_domain[told[pair][0]["caption"], d])
                    for d in {r["page_domain"] for r in told[pair]}
                },
            }
            for pair in sorted(ids[:cap])
        ]
        optouts = [r["page_optout"] for r in of if r["page_optout"]]
        found[of[0]["canonical_url"]] = {
            "image_id": image,
            "domain": of[0]["domain"],
            "page_optout": min(optouts, default=None),
            "pages": len({r["page_url"] for r in of}),
            "page_domains": len({r["page_domain"] for r in of}),
            "captions": captions,
        }
    held = [r for r in rows if r["image_id"] in registry]
    kept = sum(len(c["captions"]) for c in found.values())
    pairs = {
        "no_caption": sum(r["pair_id"] is None for r in rows),
        "registered": len({r["pair_id"] for r in held if r["pair_id"]}),
        "over_caption_cap": over,
    }
    pairs["duplicate_pair"] = len(rows) - kept - sum(pairs.values())
    dropped = {
        "registered": len({r["image_id"] for r in held}),
        "no_caption": len(of_image) - len(found),
    }
    return found, told, pairs, dropped


def _any(kinds) -> int:
    bits = 0
    for kind in kinds:
        bits |= kind
    return bits


def compare(found: dict, accounts: dict, rows: list[dict], registry=frozenset(), cap=1000) -> None:
    """Every row against the oracle's; what one row was chosen for, against all it may be."""
    expected, told, pairs, images = oracle(rows, registry, cap)
    assert found.keys() == expected.keys()
    for url, want in expected.items():
        got = found[url]
        assert {k: got[k] for k in want if k != "captions"} == {
            k: v for k, v in want.items() if k != "captions"
        }
        assert got["url"] in {r["url"] for r in rows if r["canonical_url"] == url}
        assert len(got["captions"]) == len(want["captions"])
        for caption, wanted in zip(got["captions"], want["captions"], strict=True):
            here = dict(caption)
            by_domain = wanted["caption_domain_images"]
            assert here["caption_domain_images"] == by_domain[here["page_domain"]]
            assert {k: here[k] for k in wanted if k != "caption_domain_images"} == {
                k: v for k, v in wanted.items() if k != "caption_domain_images"
            }
            kinds = wanted["caption_kinds"]
            assert here["caption_kind"] == KINDS[(kinds & -kinds).bit_length() - 1].value
            one = ("page_url", "page_domain", "page_lang", "page_lang_detected")
            one += ("caption_original", "caption_lang", "caption_lang_confidence")
            assert any(all(here[n] == r[n] for n in one) for r in told[caption["pair_id"]])
    assert accounts["pairs"].rows_in == len(rows)
    assert accounts["pairs"].dropped == {k: v for k, v in pairs.items() if v}
    assert accounts["images"].dropped == {k: v for k, v in images.items() if v}


def test_captions_of_one_image_are_gathered(spark, tmp_path: Path) -> None:
    rows = [
        pair("x", "a dog", "p2.example/", fragment="#2", kinds=2, lang="en"),
        pair("x", "a dog", "p1.example/", fragment="#1", lang="ko"),
        pair("x", "a dog", "p1.example/", optout="meta:noai", archive="b", lang="ko"),
        pair("x", "a cat", "p1.example/"),
        pair("y", "a dog", "p1.example/"),
        pair("y", None, "p3.example/", optout="tdm:1"),
        pair("z", None, "p3.example/", optout="tdm:1"),
    ]
    found, accounts, _ = dedupe(spark, tmp_path, rows)
    x, y = found["https://cdn.example/x"], found["https://cdn.example/y"]
    assert x["page_optout"] == "meta:noai" and y["page_optout"] == "tdm:1"
    assert (x["pages"], x["page_domains"], y["pages"]) == (2, 2, 2)
    captions = {c["caption"]: c for c in x["captions"]}
    assert [c["pair_id"] for c in x["captions"]] == sorted(c["pair_id"] for c in x["captions"])
    assert x["captions"][0].keys() == {f.name for f in CAPTION}
    assert captions["a dog"]["caption_kinds"] == 3 and captions["a dog"]["caption_kind"] == "alt"
    assert captions["a dog"]["pages"] == captions["a dog"]["caption_images"] == 2
    assert captions["a dog"]["caption_domains"] == 2
    assert captions["a cat"]["pages"] == captions["a cat"]["caption_images"] == 1
    assert (accounts["pairs"].rows_in, accounts["pairs"].kept) == (7, 3)
    assert accounts["pairs"].dropped == {"duplicate_pair": 2, "no_caption": 2}
    assert accounts["images"].dropped == {"no_caption": 1}
    compare(found, accounts, rows)


def _many(count: int, seed: int) -> list[dict]:
    """Pairs in which images, captions, pages and domains meet again and again."""
    rng = random.Random(seed)
    rows = []
    for n in range(count):
        caption = None if rng.random() < 0.15 else f"caption {int(rng.paretovariate(0.6)) % 60}"
        rows.append(
            pair(
                f"{int(rng.paretovariate(0.7)) % 150}",
                caption,
                f"p{rng.randrange(12)}.example/{rng.randrange(4)}",
                domain=rng.choice(["giant.example"] * 4 + ["a.example", "b.example"]),
                fragment=f"#{n}",
                kinds=rng.choice([1, 2, 4, 5, 64]),
                original=rng.random() < 0.5,
                optout=rng.choice([None] * 8 + ["meta:noai", "header:noimageai"]),
                archive=f"archive {n % 3}",
                offset=n,
                position=n % 7,
            )
        )
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bucket_rows", [100_000, 64], ids=["all together", "heavy keys apart"])
def test_every_row_and_count_is_the_oracles(spark, tmp_path: Path, seed, bucket_rows) -> None:
    rows = _many(700, seed)
    known = {r["image_id"] for r in rows if r["image_id"][0] % 5 == 0}
    known.add(rows[0]["image_id"])
    registry = tmp_path / "registry"
    registry.mkdir()
    for n, ids in enumerate((sorted(known)[::2], sorted(known))):
        pq.write_table(pa.table({"image_id": ids}), registry / f"{n}.parquet")
    settings = {"bucket_rows": bucket_rows, "parts": 3, "max_captions_per_image": 4}
    found, accounts, _ = dedupe(spark, tmp_path / "a", rows, registry=str(registry), **settings)
    compare(found, accounts, rows, known, 4)
    found, accounts, _ = dedupe(spark, tmp_path / "b", rows, files=3, **settings)
    compare(found, accounts, rows, cap=4)


def test_result_does_not_depend_on_order_partitions_or_the_way_taken(spark, tmp_path: Path) -> None:
    rows = _many(600, 7)
    settings = {"parts": 5, "giant_domain_images": 60, "max_captions_per_image": 3}
    first = dedupe(spark, tmp_path / "a", rows, files=1, **settings)
    shuffled = random.Random(2).sample(rows, len(rows))
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        second = dedupe(spark, tmp_path / "b", shuffled, files=4, bucket_rows=50, **settings)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert first[2] == second[2]
    assert first[1] == second[1]
    one, other = (
        {f.parent.name: f.read_bytes() for f in Path(tmp_path, n).glob("candidates/*/*")}
        for n in "ab"
    )
    assert one == other


def test_domains_stay_together_but_giants_are_spread(spark, tmp_path: Path) -> None:
    rows = [
        pair(str(n), "x", "p", domain=["giant.example", "giant.example", "a.example"][n % 3])
        for n in range(300)
    ]
    _, _, parts = dedupe(spark, tmp_path, rows, parts=5, giant_domain_images=100)
    homes: dict[str, set[int]] = {}
    for part, rows in parts.items():
        assert [r["image_id"] for r in rows] == sorted(r["image_id"] for r in rows)
        for row in rows:
            homes.setdefault(row["domain"], set()).add(part)
    assert homes["giant.example"] == {0, 1, 2, 3, 4}
    assert len(homes["a.example"]) == 1


def test_missing_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no registry at dedupe\.registry"):
        check(DedupeSection(registry=str(tmp_path / "none.parquet")))
