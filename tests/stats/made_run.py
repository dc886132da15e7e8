"""A run folder made by hand: every table, raw tars with real pictures, stage records."""

import io
import json
import math
import random
import tarfile
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from pipeline.core import ids
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import (
    CANDIDATES,
    COPIES,
    CUTOFFS,
    DECISIONS,
    IMAGES,
    NEIGHBORS,
    NULL_SCORES,
    PAIRS,
    RELEASED_NEIGHBORS,
    SCORES,
    SHARDS,
    Table,
    column,
    measures_table,
)

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&{{ 7 * 7 }} javascript:alert(3)'
)
CAPTIONS = [
    ("en", "A red circle above a green field at dusk"),
    ("ko", "푸른 언덕 위의 붉은 원과 하얀 구름"),
    ("ja", "緑の丘の上の赤い円"),
    ("ar", "دائرة حمراء فوق تل أخضر"),
    ("en", HOSTILE),
]


@dataclass(frozen=True)
class Length(Filter):
    """Characters of the caption."""

    min_chars: int = 10
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    measures: ClassVar[tuple[pa.Field, ...]] = (
        column("caption_chars", pa.int32(), "characters of the caption", unit="characters"),
    )

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_chars", low=self.min_chars, high=1000),)


@dataclass(frozen=True)
class Similarity(Filter):
    """A bound on a column of the pair view."""

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("clip_similarity", low=0.2),)


@dataclass(frozen=True)
class Side(Filter):
    """Shorter side and whether the picture is the first of its kind."""

    measures: ClassVar[tuple[pa.Field, ...]] = (
        column("image_min_side", pa.int32(), "shorter side", unit="pixels"),
        column("is_representative", pa.int32(), "1: no kept picture is the same"),
    )

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("image_min_side", low=200), Bound("is_representative", low=1))


FILTERS: dict[str, Filter] = {"length": Length(), "size": Side(), "similarity": Similarity()}


@dataclass
class Made:
    """The folder, the filters its measures are of, and its decided pairs as dicts."""

    root: Path
    filters: dict[str, Filter]
    pairs: list[dict] = field(default_factory=list)

    @property
    def edges(self) -> list[dict]:
        """Of every double to what it gave way to, and one to the next picture; both in order."""
        by_image = {p["image_id"]: p for p in self.pairs}
        found = []
        for n, p in enumerate(self.pairs):
            if p["duplicate_of"] in by_image:
                more = {"distance256": 9, "similarity": p["duplicate_similarity"]}
                more |= {"distance": p["duplicate_distance"], "rule": p["duplicate_rule"]}
                ends = [by_image[p["duplicate_of"]], self.pairs[(n + 1) % len(self.pairs)]]
                for other in ends:
                    a, b = sorted((p["fingerprint"], other["fingerprint"]))
                    found.append({"fingerprint_a": a, "fingerprint_b": b, **more})
        return found

    @property
    def cutoffs(self) -> list[dict]:
        """The bounds as they are given, and one more on the similarity by language."""
        given = [
            {
                "filter": name,
                "measure": bound.measure,
                "side": side,
                "value": float(value),
                "how": "value",
            }
            for name, chosen in self.filters.items()
            for bound in chosen.bounds()
            for side, value in bound.sides.items()
        ]
        if not self.pairs:
            return given
        found = [("en", 0.25, "false_accept"), ("ko", 0.22, "false_accept_pooled")]
        one = {"filter": "calibrated", "measure": "clip_similarity", "side": "low"}
        more = [
            one | {"language": lang, "value": value, "how": how, "rows": 40, "passing": 4}
            for lang, value, how in found
        ]
        return [*given, *more]

    @property
    def mismatched(self) -> list[dict]:
        """Similarities of pictures with captions of the next pair of their language."""
        rnd = random.Random(9)
        return [
            {
                "lang": p["caption_lang"],
                "pair_id": p["pair_id"],
                "caption_pair_id": self.pairs[(n + len(CAPTIONS)) % len(self.pairs)]["pair_id"],
                "measure": "clip_similarity",
                "similarity": rnd.gauss(0.15, 0.03),
            }
            for n, p in enumerate(self.pairs)
        ]

    @property
    def kept(self) -> list[dict]:
        return [p for p in self.pairs if p["is_kept"]]


def write(root: Path, table: Table, rows: list[dict], folder: str = "") -> None:
    """Write rows as one Parquet file; the columns that a row lacks are null."""
    target = root / table.name / folder
    target.mkdir(parents=True, exist_ok=True)
    fields = [f for f in table.schema if not folder or f.name != table.partition]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema(fields)), target / "part-00000.parquet"
    )


def picture(number: int, width: int, height: int) -> bytes:
    """A JPEG of coloured shapes."""
    rnd = random.Random(number)
    image = Image.new("RGB", (width, height), tuple(rnd.randrange(60, 256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rnd.randrange(width), rnd.randrange(height)
        box = (x, y, x + width // 3, y + height // 3)
        draw.ellipse(box, fill=tuple(rnd.randrange(256) for _ in range(3)))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def make(root: Path, pairs: int = 60, filters: dict[str, Filter] | None = None) -> Made:
    """Write a run of `pairs` downloaded pairs and half as many failed downloads into `root`."""
    made = Made(root, FILTERS if filters is None else filters)
    rnd = random.Random(7)
    raws: dict[int, list[tuple[bytes, bytes]]] = {0: [], 1: []}
    for n in range(pairs):
        made.pairs.append(_pair(n, rnd))
        raws[n % 2].append((made.pairs[-1]["image_id"], made.pairs[-1].pop("stored")))
    _write_raws(root, raws, made.pairs)
    _decide(made)
    failed = [_failed(n) for n in range(pairs // 2)]
    _write_tables(made, failed)
    _write_records(made, failed)
    return made


def _pair(n: int, rnd: random.Random) -> dict:
    lang, caption = CAPTIONS[n % len(CAPTIONS)]
    caption = "short" if n % 11 == 10 else caption if n < 5 else f"{caption} {n // 15}"
    width, height = rnd.choice([(640, 480), (1200, 800), (300, 900), (160, 120), (2400, 1600)])
    stored = picture(n, width // 4, height // 4)
    url = f"http://img{n % 7}.example/{n}.jpg"
    image = ids.image_id(url)
    return {
        "pair_id": ids.pair_id(image, caption),
        "image_id": image,
        "url": url,
        "canonical_url": url,
        "domain": f"domain{n % 7}.example",
        "caption": caption,
        "caption_kind": ["alt", "title", "figcaption"][n % 3],
        "caption_kinds": 1 << n % 3,
        "caption_lang": lang,
        "caption_lang_confidence": 0.5 + n % 5 / 10,
        "pages": 1 + n % 4,
        "caption_images": 1 + n % 3,
        "caption_domains": 1,
        "caption_domain_images": 1 + n % 3,
        "caption_pattern_pairs": 1 + n % 3,
        "page_url": f"http://page.example/{n}",
        "page_domain": "page.example",
        "page_lang": [lang, f"{lang.upper()}-XX", None, "<b>x</b>"][n % 4],
        "page_lang_detected": lang,
        "page_optout": None,
        "consent": "allowed",
        "format": ["JPEG", "PNG"][n % 2],
        "frames": 1,
        "body_bytes": len(stored) * 8,
        "original_width": width,
        "original_height": height,
        "width": width // 4,
        "height": height // 4,
        "texture": rnd.randrange(20, 100),
        "hash64": n,
        "fingerprint": blake2b(bytes([n % 250]), digest_size=16).digest(),
        "sha256": sha256(stored).digest(),
        "part": n % 2,
        "clip_similarity": math.nan if n == 13 else round(rnd.gauss(0.3, 0.08), 3) + 0.0004,
        "caption_chars": len(caption),
        "image_min_side": min(width, height),
        "is_representative": int(n % 9 != 8),
        "stored": stored,
    }


def _write_raws(root: Path, raws: dict[int, list[tuple[bytes, bytes]]], pairs: list[dict]) -> None:
    places: dict[bytes, tuple[int, int]] = {}
    (root / "raw").mkdir(parents=True)
    for part, members in raws.items():
        with tarfile.open(root / f"raw/part-{part:05d}.tar", "w") as tar:
            for image, data in members:
                info = tarfile.TarInfo(image.hex() + ".jpg")
                info.size = len(data)
                places[image] = (tar.offset + 512, len(data))
                tar.addfile(info, io.BytesIO(data))
    for pair in pairs:
        pair["raw_round"] = 0
        pair["raw_offset"], pair["raw_bytes"] = places[pair["image_id"]]


def _decide(made: Made) -> None:
    bounds = [b for f in made.filters.values() for b in f.bounds()]
    for n, pair in enumerate(made.pairs):
        reasons = []
        for bound in bounds:
            value = pair[bound.measure]
            if value is None or math.isnan(value):
                reasons.append(f"{bound.measure}_missing")
            elif bound.low is not None and value < bound.low:
                reasons.append(f"{bound.measure}_low")
            elif bound.high is not None and value > bound.high:
                reasons.append(f"{bound.measure}_high")
        is_double = "is_representative_low" in reasons
        rule = ["perceptual", "turned", "copy"][n // 9 % 3] if n != 17 else "released"
        other = made.pairs[n // 27 * 27]["image_id"] if n != 17 else b"of an older one."
        pair |= {
            "reasons": reasons,
            "reason": reasons[0] if reasons else None,
            "is_kept": not reasons,
            "picture_id": pair["image_id"],
            "duplicate_of": other if is_double else None,
            "duplicate_rule": rule if is_double else None,
            "duplicate_distance": n % 4 if is_double and rule != "copy" else None,
            "duplicate_similarity": 0.75 + n / 1000 if is_double and rule == "copy" else None,
        }


def _failed(n: int) -> dict:
    status = ["http_404", "robots", "timeout"][n % 3]
    url = f"http://gone.example/{n}.jpg"
    return {
        "image_id": ids.image_id(url),
        "url": url,
        "canonical_url": url,
        "domain": "gone.example",
        "part": n % 2,
        "status": status,
        "consent": "robots.txt" if status == "robots" else "allowed",
        "http_status": 404 if status == "http_404" else None,
        "fetch_ms": 50,
        "fetched_at": 0,
        "downloads": 1,
        "caption": f"gone {n}",
    }


def _write_tables(made: Made, failed: list[dict]) -> None:
    root = made.root
    links = [
        {
            **row,
            "pair_id": ids.pair_id(row["image_id"], row["caption"]),
            "caption_kind": row.get("caption_kind", "alt"),
            "caption_kinds": 1,
            "caption_lang": row.get("caption_lang", "und"),
            "caption_lang_confidence": row.get("caption_lang_confidence", 0.0),
            "page_url": "http://page.example/",
            "page_lang_detected": "en",
            "page_domain": "page.example",
            "archive": "a.warc.gz",
            "record_offset": n,
            "position": 0,
        }
        for n, row in enumerate([*made.pairs, *failed])
    ]
    # A link without a caption, on a page that opts out: a row of PAIRS, but no pair.
    silent = {"pair_id": None, "caption": None, "domain": "silent.example"}
    rows = [*links, *({**link, **silent} for link in links[:1])]
    write(root, PAIRS, [{f: r.get(f) for f in PAIRS.schema.names} for r in rows])
    captioned = [
        {
            **r,
            "pages": 1,
            "page_domains": 1,
            "captions": [
                {
                    **r,
                    "pages": 1,
                    "caption_images": r.get("caption_images", 1),
                    "caption_domains": 1,
                    "caption_domain_images": 1,
                    "caption_pattern_pairs": 1,
                }
            ],
        }
        for r in links
    ]
    for part in (0, 1):
        rows = [_only(CANDIDATES, r) for r in captioned if r["part"] == part]
        write(root, CANDIDATES, rows, f"part={part}")
    got = [{**p, "status": "ok", "http_status": 200, "fetch_ms": 20} for p in made.pairs]
    got = [{**row, "fetched_at": 0, "downloads": 1} for row in got]
    write(root, IMAGES, [_only(IMAGES, r) for r in [*got, *failed]])
    write(root, NEIGHBORS, [e for e in made.edges if e["rule"] != "copy"])
    copies = [e for e in made.edges if e["rule"] == "copy"]
    write(root, COPIES, [_only(COPIES, e) for e in copies])
    released = [
        {
            "fingerprint": p["fingerprint"],
            "released_image_id": p["duplicate_of"],
            "release": "2025",
            "distance": p["duplicate_distance"],
            "distance256": 9,
        }
        for p in made.pairs
        if p["duplicate_rule"] == "released"
    ]
    write(root, RELEASED_NEIGHBORS, released)
    write(root, SCORES, [_only(SCORES, p) for p in made.pairs])
    fields = [f for flt in made.filters.values() for f in flt.measures]
    table = measures_table(fields)
    write(root, table, [_only(table, p) for p in made.pairs])
    write(root, DECISIONS, [_only(DECISIONS, p) for p in made.pairs])
    write(root, CUTOFFS, made.cutoffs)
    write(root, NULL_SCORES, made.mismatched)
    shard = {"shard": 0, "path": "00000.tar", "samples": len(made.kept), "bytes": 123456}
    write(root, SHARDS, [shard | {"sha256": "0" * 64}] if made.kept else [])


def _only(table: Table, row: dict) -> dict:
    return {f: row.get(f) for f in table.schema.names}


def _write_records(made: Made, failed: list[dict]) -> None:
    judged = len(made.pairs)
    reasons: dict[str, int] = {}
    for pair in made.pairs:
        if pair["reason"]:
            reasons[pair["reason"]] = reasons.get(pair["reason"], 0) + 1
    statuses: dict[str, int] = {}
    for row in failed:
        statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    found = judged + len(failed)
    accounts = {
        "extract": [
            ("records", 200, {"not_a_page": 120, "not_html": 20}),
            ("links", found + 30, {"no_caption": 25, "data_url": 5}),
        ],
        "dedupe": [("pairs", found, {})],
        "download": [("images", found, statuses)],
        "match": [("fingerprints", judged, {})],
        "score": [("pairs", judged, {})],
        "measure": [("pairs", judged, {})],
        "decide": [("pairs", judged, reasons)],
        "shard": [("pairs", len(made.kept), {})],
    }
    (made.root / "_stages").mkdir()
    for n, (stage, counted) in enumerate(accounts.items()):
        record = {
            "stage": stage,
            "state": "done",
            "id": f"{n:016x}",
            "config": {stage: {"seed": 0, "note": "<i>" if n else "plain"}},
            "inputs": {},
            "version": "0.1.0",
            "accounts": [
                {"unit": u, "in": i, "kept": i - sum(d.values()), "dropped": d}
                for u, i, d in counted
            ],
            "seconds": 1.5 * n + 1,
            "finished_at": f"2026-01-02T03:0{n}:05Z",
        }
        (made.root / f"_stages/{stage}.json").write_text(json.dumps(record), encoding="utf-8")
