"""Rates of extract's inner loop on generated archives, beside a loop that only walks records."""

import gzip
import io
import json
import random
import time
from collections.abc import Callable

from pipeline.extract.rows import PairRows, read_archive
from tests.extract.archive import record, response

_WORDS = [f"word{i}" for i in range(5000)]
_PAGES = 3000


def run_wat(scale: float = 1.0) -> dict[str, object]:
    """WAT records with some 80 links, a dozen of them images."""
    return _measure("extract-wat", _archive(_wat_page, int(_PAGES * scale)))


def run_warc(scale: float = 1.0) -> dict[str, object]:
    """HTML pages of some 50 KB with a dozen images."""
    return _measure("extract-warc", _archive(_html_page, int(_PAGES * scale / 4)))


def _archive(page: Callable[[random.Random, int], bytes], pages: int) -> tuple[bytes, int]:
    rng = random.Random(1)
    members = (gzip.compress(page(rng, i), 6, mtime=0) for i in range(max(pages, 1)))
    return b"".join(members), max(pages, 1)


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def _images(rng: random.Random) -> list[tuple[str, str]]:
    host = rng.choice(["", "/static/", f"https://cdn{rng.randrange(500)}.example.com/"])
    return [
        (f"{host}img/{rng.randrange(10**9)}.jpg", _text(rng, rng.randrange(0, 9)))
        for _ in range(12)
    ]


def _html_page(rng: random.Random, number: int) -> bytes:
    parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><title>x</title></head><body>"]
    for src, alt in _images(rng):
        parts.append(f"<div class=c><a href='/p'><img src='{src}' width=300 alt='{alt}'></a>")
        parts.extend(f"<p class='text'>{_text(rng, 60)}</p>" for _ in range(10))
        parts.append("</div>")
    return response("".join(parts).encode(), url=f"https://site{number % 400}.example/{number}")


def _wat_page(rng: random.Random, number: int) -> bytes:
    links: list[dict[str, str]] = [
        {"path": "IMG@/src", "url": src, "alt": alt} for src, alt in _images(rng)
    ]
    for _ in range(70):
        url = f"https://site{number % 400}.example/{_text(rng, 1)}/{rng.randrange(10**6)}.html"
        links.append({"path": "A@/href", "url": url, "text": _text(rng, 4)})
    rng.shuffle(links)
    html = {"Head": {"Title": _text(rng, 6), "Metas": [{"name": "x", "content": "y"}] * 8}}
    found = {
        "Response-Message": {"Status": "200"},
        "Headers": {f"Header-{i}": _text(rng, 3) for i in range(12)},
        "HTML-Metadata": html | {"Links": links},
    }
    data = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": found}}}
    url = f"https://site{number % 400}.example/{number}"
    return record("metadata", url, "application/json", json.dumps(data).encode())


def _measure(workload: str, archive: tuple[bytes, int]) -> dict[str, object]:
    from fastwarc.warc import ArchiveIterator

    data, pages = archive
    # The suffix list loads on first use; that is start-up.
    list(read_archive(io.BytesIO(data[:200_000]), PairRows("warm-up"), 1 << 25, 10_000, 8192))
    started, cpu = time.perf_counter(), time.process_time()
    walked = sum(len(r.reader.read()) for r in ArchiveIterator(io.BytesIO(data), parse_http=False))
    walk_cpu_s = time.process_time() - cpu
    started, cpu = time.perf_counter(), time.process_time()
    rows = PairRows("bench")
    for _ in read_archive(io.BytesIO(data), rows, 1 << 25, 10_000, 8192):
        pass
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    assert rows.records.kept == pages
    return {
        "workload": workload,
        "items": pages,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "items_per_core_second": pages / cpu_seconds,
        "pairs": rows.pairs.kept,
        "archive_bytes": len(data),
        "page_bytes": walked // pages,
        "walk_items_per_core_second": pages / walk_cpu_s,
        "of_walk_rate": walk_cpu_s / cpu_seconds,
    }
