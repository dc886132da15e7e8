"""Comparisons per second inside buckets, beside FAISS's flat search; and what a row costs by size.

In this process, on one core, without Spark. Times are CPU times, the least of three.
"""

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from pipeline.match import kernel
from pipeline.match.blocks import Work, make_plan
from pipeline.match.search import search_table
from tests.benchmarks.hashes import FILE_ROWS, hashes

_BIG_ROWS = 40_000
_SMALL_ROWS = 2_000_000
_KEY_BITS = (9, 13, 15, 17, 19, 21, 26)
_HOT_ROWS = 1_000_000
_RADIUS = 4


def run(scale: float = 1.0) -> dict[str, Any]:
    """items: comparisons in a big bucket. rate_to_faiss: ours over FAISS's.

    small_buckets: nanoseconds a row, sorted table in, by the average number of rows in a bucket.
    hot_bucket: one key for a million rows, searched as `search_table` does, cut again.
    """
    rows = int(_SMALL_ROWS * scale)
    words = np.concatenate(
        [hashes(np.arange(low, low + FILE_ROWS), 10**9)[0] for low in range(0, rows, FILE_ROWS)]
    )[:rows]
    _compare(np.sort(words[:1000]), 10)  # compiles
    big = np.sort(words[: int(_BIG_ROWS * scale)]) >> np.uint64(1)  # one key of one bit
    ours, compared = _least(lambda: _compare(big, 1))
    theirs, _ = _least(lambda: _flat(big))
    ordered = np.sort(words)
    return {
        "workload": "match-kernel",
        "items": compared,
        "seconds": ours,
        "cpu_seconds": ours,
        "comparisons_per_second": compared / ours,
        "faiss_comparisons_per_second": len(big) ** 2 / theirs,
        "rate_to_faiss": compared / ours / (len(big) ** 2 / theirs),
        "small_buckets": [_small(ordered, bits) for bits in _KEY_BITS],
        "row": _row(words),
        "hot_bucket": _hot(int(_HOT_ROWS * scale)),
    }


def _small(ordered: Any, key_bits: int) -> dict[str, float]:
    seconds, compared = _least(lambda: _compare(ordered, key_bits))
    return {
        "rows_per_bucket": len(ordered) / 2**key_bits,
        "comparisons_per_row": compared / len(ordered),
        "nanoseconds_per_row": seconds / len(ordered) * 1e9,
        "comparisons_per_second": compared / seconds,
    }


def _row(words: Any) -> dict[str, float]:
    """Nanoseconds to send a hash to its part of a table, and to sort it there."""
    mask = make_plan(_RADIUS, 6).mask_array[3]
    layout = make_plan(_RADIUS, 6).layout(3)
    counts, sent = np.empty(16, np.int64), np.empty_like(words)
    send, _ = _least(lambda: kernel.send(words, mask, 4, counts, sent))
    order, _ = _least(lambda: np.sort(kernel.permute(words, layout.forward)))
    return {"send": send / len(words) * 1e9, "sort": order / len(words) * 1e9}


def _hot(rows: int) -> dict[str, float]:
    plan = make_plan(_RADIUS, 6)
    hot = np.random.default_rng(1).integers(0, 2**64, rows, dtype=np.uint64)
    hot = np.unique(hot & ~plan.mask_array[0])
    work = Work()
    started = time.process_time()
    for _ in search_table(hot, plan, 0, 4096, None, work):
        pass
    return {
        "rows": len(hot),
        "comparisons": work.comparisons,
        "cpu_seconds": time.process_time() - started,
    }


def _compare(words: Any, key_bits: int) -> int:
    """Comparisons of a pass of the kernel over sorted words."""
    state = np.zeros(kernel.STATE_LENGTH, np.int64)
    left, right = np.empty((2, 1 << 16), np.uint64)
    none = np.empty(0, np.uint64)
    while (
        kernel.compare(words, words, True, key_bits, np.inf, _RADIUS, none, state, left, right)
        == 1 << 16
    ):
        pass
    return int(state[kernel.COMPARED])


def _flat(words: Any) -> None:
    """FAISS on the same rows; it compares each pair in both directions."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(64)
    data = words.view(np.uint8).reshape(-1, 8)
    index.add(data)
    index.range_search(data, _RADIUS + 1)


def _least(work: Callable[[], Any]) -> tuple[float, Any]:
    times = []
    for _ in range(3):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return min(times), result
