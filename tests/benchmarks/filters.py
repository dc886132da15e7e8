"""Rows per second of filters: `filters` is the stage `measure` with COYO-700M's rules for texts and
pictures, from the tables it reads to the one it writes; `filters-all` every filter with its
defaults, in this process, without Spark.
"""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import filters
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.filter import Filter
from pipeline.core.ids import Digests, as_binary
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    CAPTION,
    IMAGES,
    LISTED,
    PAIR_VIEW,
    PICTURE,
    SCORES,
    SEMANTICS,
    measures_table,
)
from pipeline.stages import measure
from pipeline.stages.measure_part import measure_all
from tests.benchmarks.machine import spark_cpu_seconds

_ROWS = 50_000
_PARTS = 20  # of so many pairs
_CAPTIONS, _IMAGES = 5, 4  # so many captions have so many images
_BATCH_ROWS = 4096  # as Spark hands them over
_REPEATS = 3
_SPARK_CONF = Path(__file__).resolve().parents[2] / "conf" / "spark-local.conf"

_WORDS = {
    "en": "brown dog running on the beach at sunset old wooden chair white background portrait "
    "woman with glasses city skyline night modern kitchen marble fresh vegetables market",
    "ko": "갈색 강아지가 해변에서 뛰노는 모습 창가에서 잠든 검은 고양이 서울 야경",
    "ja": "海辺を走る茶色い犬 窓辺で眠る黒猫 東京タワーの夜景 子どもたちが公園でサッカーをしている",
    "zh": "在海滩上奔跑的棕色小狗 窗台上睡觉的黑猫 北京故宫的夜景 孩子们在公园里踢足球",
    "de": "ein brauner Hund läuft am Strand schwarze Katze schläft auf der Fensterbank",
    "ru": "коричневая собака бежит по пляжу чёрная кошка спит на подоконнике",
}
_JUNK = (
    "IMG_{n}.jpg",
    "12.99 / {n}",
    "https://example.com/{n}",
    "★ ★ ★ {n}",
    "mail{n}@example.com",
)


def pairs(rows: int, seed: int = 0) -> pa.Table:
    """Pairs as the web gives them: mostly English captions, then other scripts, then junk."""
    chance = random.Random(seed)
    return pa.Table.from_pylist([_pair(chance, n) for n in range(rows)], schema=PAIR_VIEW)


def _pair(chance: random.Random, n: int) -> dict[str, Any]:
    language = chance.choices(["en", "ko", "ja", "zh", "de", "ru", "junk"], [55, 8, 8, 8, 8, 6, 7])[
        0
    ]
    if language == "junk":
        caption = chance.choice(_JUNK).format(n=n)
    else:
        caption = " ".join(chance.choices(_WORDS[language].split(), k=chance.randint(2, 18)))
    host = f"img{n % 977}.example{n % 89}.com"
    width, height = chance.randint(50, 4000), chance.randint(50, 4000)
    return {
        "pair_id": n.to_bytes(16, "big"),
        "image_id": n.to_bytes(16, "big"),
        "url": f"https://{host}/images/{n}.jpg",
        "domain": host.partition(".")[2],
        "caption": caption,
        "caption_kind": "alt",
        "caption_kinds": 1,
        "caption_lang": "und" if language == "junk" else language,
        "caption_lang_confidence": 0.0 if language == "junk" else 0.9,
        "pages": 1 + n % 3,
        "caption_images": 1 + n % 13,
        "caption_domains": 1 + n % 5,
        "caption_domain_images": 1 + n % 7,
        "caption_pattern_pairs": 1 + n % 11,
        "page_url": f"https://www.{host}/page/{n}",
        "page_domain": host.partition(".")[2],
        "page_lang": language if language != "junk" and n % 2 else None,
        "page_lang_detected": "en",
        "page_optout": "meta:noai" if n % 50 == 0 else None,
        "consent": "allowed",
        "format": "JPEG",
        "frames": 1,
        "body_bytes": chance.randint(1_000, 500_000),
        "original_width": width,
        "original_height": height,
        "width": min(width, 512),
        "height": min(height, 512),
        "texture": chance.randint(0, 100),
        "hash64": n,
        "fingerprint": n.to_bytes(16, "big"),
        "sha256": n.to_bytes(32, "big"),
        "part": n % 64,
        "raw_round": 0,
        "raw_offset": n * 512,
        "raw_bytes": 30_000,
        "clip_similarity": chance.gauss(0.25, 0.05),
    }


def coyo(folder: Path) -> dict[str, Filter]:
    """COYO-700M's rules, with a lexicon and a block list of the usual sizes made in `folder`."""
    words = sorted({word for text in _WORDS.values() for word in text.split()})
    made_up = [f"{a}{b}{c}" for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES]
    lexicon, flagged = folder / "lexicon.txt", folder / "flagged.txt"
    lexicon.write_text("".join(f"{word} NN\n" for word in [*words, *made_up]), "utf-8")
    flagged.write_text("\n".join(made_up[:3000]), "utf-8")
    known = filters.load()
    settings: dict[str, dict[str, Any]] = {
        "consent": {},
        "caption_language": {"languages": ("en",)},
        "caption_length": {},
        "caption_words": {},
        "caption_parts_of_speech": {"lexicon": str(lexicon)},
        "caption_boilerplate": {},
        "caption_flagged_words": {"lists": {"en": str(flagged)}},
        "image_bytes": {},
        "aspect_ratio": {},
        "image_size": {},
        "near_duplicate": {},
    }
    return {name: known[name](**given) for name, given in settings.items()}


# 45 of them: 91,125 words, as many as a tagger's lexicon has.
_SYLLABLES = [a + b for a in "bdfgklmnp" for b in "aeiou"]


def write(store: Store, told: pa.Table, parts: int) -> int:
    """The tables that `measure` reads; how many pairs. Each part has the pairs of `told` under ids
    of its own, five captions to four images, in order of the images."""
    scores = []
    for part in range(parts):
        rng = np.random.default_rng(part)
        image = np.arange(told.num_rows) * _IMAGES // _CAPTIONS
        first = np.flatnonzero(np.diff(image, prepend=-1))
        ids = np.sort(_random(rng, len(first), 16).view("S16").ravel())
        columns = dict(zip(told.schema.names, told.columns, strict=True)) | {
            "image_id": as_binary(ids[image].view(np.uint8).reshape(-1, 16)),
            "pair_id": as_binary(_random(rng, told.num_rows, 16)),
            "fingerprint": as_binary(_random(rng, told.num_rows, 16)),
            "sha256": as_binary(_random(rng, told.num_rows, 32)),
            "hash64": pa.array(_random(rng, told.num_rows, 8).view(np.int64).ravel()),
            "part": pa.repeat(pa.scalar(part, pa.int32()), told.num_rows),
        }
        rows = pa.table(columns)
        scores.append(rows.select(SCORES.schema.names))
        _write_candidates(store, part, rows, first)
        with store.publish_part(IMAGES, part) as sink:
            sink.write(_images(rows.select(PICTURE).take(first)))
    mixed = pa.concat_tables(scores)
    mixed = mixed.take(np.random.default_rng(0).permutation(mixed.num_rows))
    for table, rows in ((SCORES, mixed), (SEMANTICS, None), (LISTED, None)):
        with store.publish_part(table, 0) as sink:
            if rows is not None:
                sink.write(rows)
    return mixed.num_rows


def _random(rng: np.random.Generator, rows: int, width: int) -> Digests:
    return rng.integers(1, 256, (rows, width), np.uint8)


def _write_candidates(store: Store, part: int, rows: pa.Table, first: Any) -> None:
    """first: the number of the first row of each image."""
    rows = rows.combine_chunks()
    caption = {field.name: field for field in CAPTION}
    told = [
        rows.column(name).chunk(0) if name in rows.schema.names else pa.nulls(len(rows), field.type)
        for name, field in caption.items()
    ]
    structs = pa.StructArray.from_arrays(told, fields=list(caption.values()))
    of_image = rows.take(first)
    columns = dict(zip(of_image.schema.names, of_image.columns, strict=True)) | {
        "canonical_url": of_image.column("url"),
        "page_domains": of_image.column("pages"),
        "captions": pa.ListArray.from_arrays(pa.array([*first, len(rows)], pa.int32()), structs),
    }
    schema = pa.schema([field for field in CANDIDATES.schema if field.name != "part"])
    name = f"{CANDIDATES.name}/{CANDIDATES.partition}={part}/part-00000.parquet"
    with store.publish(name) as file:
        table = pa.table({n: columns[n] for n in schema.names}).cast(schema)
        pq.write_table(table, file, compression="zstd")


def _images(pictures: pa.Table) -> pa.Table:
    ones = {"status": pa.scalar("ok")}
    columns = [
        pictures.column(field.name)
        if field.name in pictures.schema.names
        else pa.nulls(len(pictures), field.type)
        if field.nullable
        else pa.repeat(ones.get(field.name, pa.scalar(1, pa.int64())), len(pictures))
        for field in IMAGES.schema
    ]
    return pa.table(columns, names=IMAGES.schema.names).cast(IMAGES.schema)


def run(scale: float = 1.0) -> dict[str, Any]:
    """A million pairs through the stage. cpu_seconds are those of the JVM, its Python workers
    and this process while workers that run measure the table; cpu_seconds_with_start has Spark's
    start, the workers' and what Java compiles besides."""
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    try:
        store, enabled = Store(root), coyo(Path(root))
        return _through_spark(store, enabled, write(store, pairs(round(_ROWS * scale)), _PARTS))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _through_spark(store: Store, enabled: Mapping[str, Filter], rows: int) -> dict[str, Any]:
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--properties-file {_SPARK_CONF} --conf spark.local.dir={store.root}/spark pyspark-shell"
    )
    before = time.process_time()
    spark = session("bench filters")
    started = spark_cpu_seconds(spark) - before
    section = measure.MeasureSection()
    sections = {"run": RunSection(root=store.root), "measure": section}
    ctx: Context[Any] = Context("measure", spark, store, section, sections, enabled)
    # The first time workers start and load their kernels, and Java compiles.
    measuring = [_measured(ctx, rows) for _ in range(_REPEATS)]
    spark.stop()
    cpu, seconds = min(measuring[1:])
    with_start = started + measuring[0][0]
    return {
        "workload": "filters",
        "items": rows,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "cpu_seconds_with_start": with_start,
        "rows_per_core_second_with_start": round(rows / with_start),
        "filters": len(enabled),
    }


def _measured(ctx: Context[Any], rows: int) -> tuple[float, float]:
    """CPU and wall seconds of the stage."""
    ctx.store.remove(measures_table([]).name)
    cpu, started = spark_cpu_seconds(ctx.spark), time.perf_counter()
    (account,) = measure.build(ctx)
    took = spark_cpu_seconds(ctx.spark) - cpu, time.perf_counter() - started
    account.check("measure")
    if account.kept != rows:
        raise ValueError("rows were lost")
    return took


@contextmanager
def _every_filter() -> Iterator[dict[str, Filter]]:
    """All filters that measure, with their defaults, or with what they need."""
    with tempfile.TemporaryDirectory() as folder:
        made = coyo(Path(folder))
        words = {"lists": {"en": str(Path(folder) / "lexicon.txt")}}
        made["caption_vocabulary"] = filters.load()["caption_vocabulary"](**words)
        yield {
            name: chosen
            for name, kind in filters.load().items()
            if (chosen := made.get(name) or kind()).measures
        }


def run_all(scale: float = 1.0) -> dict[str, Any]:
    """Measure `scale` times 50,000 pairs; items are pairs through all filters together."""
    rows = max(1, round(_ROWS * scale))
    batches = pairs(rows).combine_chunks().to_batches(_BATCH_ROWS)
    with _every_filter() as measuring:
        measure_all(batches[0], tuple(measuring.values()))  # loads models and tables
        best: tuple[float, float] | None = None
        for _ in range(_REPEATS):
            wall, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                measure_all(batch, tuple(measuring.values()))
            took = time.perf_counter() - wall, time.process_time() - cpu
            best = min(best, took) if best else took
        assert best is not None
        each = {}
        for name, chosen in measuring.items():
            started = time.process_time()
            for batch in batches:
                measure_all(batch, (chosen,))
            each[name] = round((time.process_time() - started) / rows * 1e6, 3)
    return {
        "workload": "filters-all",
        "items": rows,
        "seconds": best[0],
        "cpu_seconds": best[1],
        "filters": len(measuring),
        "microseconds_per_row": dict(sorted(each.items(), key=lambda item: -item[1])),
    }
