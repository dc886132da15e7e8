"""Rows per second through every filter with its defaults, in this process, without Spark."""

import random
import time
from typing import Any

import pyarrow as pa

import filters
from pipeline.core.tables import PAIR_VIEW
from pipeline.stages.measure import measure_all
from tests.filters.oracle import made

_ROWS = 50_000
_BATCH_ROWS = 4096  # as Spark hands them over
_REPEATS = 3

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


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure `scale` times 50,000 pairs; items are pairs through all filters together."""
    rows = max(1, round(_ROWS * scale))
    batches = pairs(rows).combine_chunks().to_batches(_BATCH_ROWS)
    enabled = {name: made(name, kind) for name, kind in filters.load().items()}
    measuring = {name: chosen for name, chosen in enabled.items() if chosen.measures}
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
        "workload": "filters",
        "items": rows,
        "seconds": best[0],
        "cpu_seconds": best[1],
        "filters": len(measuring),
        "microseconds_per_row": dict(sorted(each.items(), key=lambda item: -item[1])),
    }
