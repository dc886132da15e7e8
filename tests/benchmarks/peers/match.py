"""`match`: all pairs within 4 bits, beside FAISS's flat and multi-hash indexes.

Ours is the search through Spark, from a file of hashes to a file of pairs, the start of the JVM
included; the peer has the hashes in memory and writes nothing. A FAISS self-join asks for every
hash. Where that would take hours, a random share of the queries is asked and the time of the
queries, not that of building the index, is divided by the share: each query of a flat search makes
the same comparisons, and one of a multi-hash search the same on average. `asked_share` says so.
The pairs of the asked hashes must be ours, all of them and no others.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tests.benchmarks import match
from tests.benchmarks.peers.compare import call

SIZES = (4_000_000, 16_000_000)
_FLAT_QUERIES = 4_000
_MULTI_QUERIES = 500_000
# 3 tables of 21 bits: of 4 changed bits at most one is in some table, so one flip finds all.
_TABLES, _KEY_BITS, _FLIPS = 3, 21, 1
_BATCH = 4096

U64 = npt.NDArray[np.uint64]


def run(scale: float = 1.0) -> dict[str, Any]:
    """Both sizes against multi-hash, and the smaller against the flat search."""
    found = []
    for size in (int(size * scale) for size in SIZES):
        with tempfile.TemporaryDirectory() as folder:
            hashes, pairs = Path(folder, "hashes.parquet"), Path(folder, "pairs")
            match.write_hashes(hashes, size)
            figures: dict[str, Any] = {"ours": match.apart("file", str(hashes), str(pairs))}
            kinds = ["multi"] if found else ["multi", "flat"]
            for kind in kinds:
                figures[kind] = call(
                    [sys.executable, "-m", "tests.benchmarks.peers.match", kind, hashes, pairs]
                )
                figures[f"{kind}_over_ours"] = round(
                    figures[kind]["cpu_seconds"] / figures["ours"]["cpu_seconds"], 2
                )
            found.append(figures)
            print(f"match: {json.dumps(figures)}", file=sys.stderr, flush=True)
    for figures in found:
        for side in ("ours", "multi", "flat"):
            if side in figures:
                rate = figures[side]["items"] / figures[side]["cpu_seconds"]
                figures[side]["items_per_core_second"] = round(rate, 2)
    return {
        "workload": "match",
        "peer_name": f"FAISS multi-hash, {_TABLES} x {_KEY_BITS} bits, at {found[0]['ours']['items']:,}",
        "ours": [found[0]["ours"]],
        "peer": [found[0]["multi"]],
        "ratio": found[0]["multi_over_ours"],
        "sizes": found,
    }


def side(kind: str, hashes: Path, pairs: Path) -> dict[str, Any]:
    """One peer's self-join; AssertionError when its pairs of the asked hashes are not ours."""
    import faiss

    words = pq.read_table(hashes).column("hash64").to_numpy().view(np.uint64)
    data = words.view(np.uint8).reshape(-1, 8)
    asked = min(len(words), _FLAT_QUERIES if kind == "flat" else _MULTI_QUERIES)
    queries = np.random.default_rng(5).choice(len(words), asked, replace=False)
    if kind == "flat":
        index = faiss.IndexBinaryFlat(64)
    else:
        index = faiss.IndexBinaryMultiHash(64, _TABLES, _KEY_BITS)
        index.nflip = _FLIPS
    cpu, wall = time.process_time(), time.perf_counter()
    index.add(data)
    built = time.process_time() - cpu, time.perf_counter() - wall
    left, right = [], []
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, asked, _BATCH):
        chosen = queries[start : start + _BATCH]
        # FAISS's radius is strict.
        limits, _, labels = index.range_search(data[chosen], match.RADIUS + 1)
        left.append(np.repeat(chosen, np.diff(limits.astype(np.int64))))
        right.append(labels)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    found = _ordered(words[np.concatenate(left)], words[np.concatenate(right)])
    expected = _of_queries(pairs, words[queries])
    if not np.array_equal(found, expected):
        raise AssertionError(f"{kind}: {len(found)} pairs, ours are {len(expected)}")
    return {
        "items": len(words),
        "seconds": round(built[1] + spent[1] * len(words) / asked, 2),
        "cpu_seconds": round(built[0] + spent[0] * len(words) / asked, 2),
        "index_cpu_seconds": round(built[0], 2),
        "asked": asked,
        "asked_share": asked / len(words),
        "asked_cpu_seconds": round(spent[0], 2),
        "pairs_compared": len(found),
    }


def _ordered(a: U64, b: U64) -> npt.NDArray[Any]:
    """Distinct unordered pairs, without those of a hash with itself, sorted: uint64 [pairs, 2]."""
    differ = a != b
    a, b = a[differ], b[differ]
    both = np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)
    return np.unique(both, axis=0)


def _of_queries(pairs: Path, queries: U64) -> npt.NDArray[Any]:
    table = pq.read_table(pairs)
    a, b = (table.column(n).to_numpy().view(np.uint64) for n in ("hash_a", "hash_b"))
    mine = np.isin(a, queries) | np.isin(b, queries)
    return _ordered(a[mine], b[mine])


def main(argv: Sequence[str]) -> None:
    kind, hashes, pairs = argv
    print(json.dumps(side(kind, Path(hashes), Path(pairs))))


if __name__ == "__main__":
    main(sys.argv[1:])
