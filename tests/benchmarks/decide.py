"""How fast `decide` judges measured pairs: bounds, ranks of captions, survivors, SQL alone.

    make bench W=decide

Ten million rows as `measure` writes them, with every filter of conf/default.toml and the edges of
`match`: each picture has 1.25 captions, a third of the pictures have a near-duplicate (chains and
stars of up to ten), 5% are there under a second URL. Some two fifths of the rows pass all bounds.
"""

import os
import shutil
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import TypeAdapter

import filters
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.filter import Filter, Relative, measured_fields
from pipeline.core.ids import Digests, as_binary
from pipeline.core.spark import session
from pipeline.core.storage import Store
from pipeline.core.tables import (
    COPIES,
    NEIGHBORS,
    NULL_SCORES,
    RELEASED_NEIGHBORS,
    Table,
    measures_table,
)
from pipeline.stages import decide
from tests.benchmarks import machine
from tests.benchmarks.dedupe import shuffled

PAIRS = 10_000_000
_FILE_ROWS = 500_000
_CAPTIONS = 1.25  # a picture
_LANGUAGES = ("en", "de", "ru", "ko", "ja", "zh", "es", "fr", "und", "sv")
_LANGUAGE_SHARES = (0.5, 0.08, 0.08, 0.06, 0.06, 0.06, 0.06, 0.05, 0.04, 0.01)
_MB = 1 << 20
_CONF = Path(__file__).resolve().parents[2] / "conf"

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


def run(scale: float = 1.0) -> dict[str, Any]:
    """Decide `PAIRS * scale` measured pairs with the bounds of the default recipe.

    relative_seconds: the same once more, with the similarity's bound as a share per language.
    """
    pairs = max(1000, int(PAIRS * scale))
    root = tempfile.mkdtemp(prefix="pairmill-bench-")
    try:
        store, enabled = Store(root), default_filters()
        write(store, enabled, pairs)
        # As the stage runs here, but for the files that Spark spills.
        os.environ["PYSPARK_SUBMIT_ARGS"] = (
            f"--properties-file {_CONF / 'spark-local.conf'} "
            f"--conf spark.local.dir={root}/spark pyspark-shell"
        )
        spark = session("benchmark decide")
        spark.range(1).count()  # the session's own start is not the stage's cost
        cpu, started = machine.spark_cpu_seconds(spark), time.perf_counter()
        account = decided(spark, store, enabled)
        seconds = time.perf_counter() - started
        cpu = machine.spark_cpu_seconds(spark) - cpu
        moved = shuffled(spark)
        by_language = enabled | {"clip_similarity": _by_language()}
        started = time.perf_counter()
        decided(spark, store, by_language)
        relative = time.perf_counter() - started
        spark.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {
        "workload": "decide",
        "items": pairs,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "relative_seconds": round(relative, 2),
        "kept": account.kept,
        "dropped": dict(account.dropped.most_common()),
        "shuffled_mb": round(moved["shuffled"] / _MB, 1),
        "spilled_mb": round(moved["spilled"] / _MB, 1),
    }


def decided(spark: Any, store: Store, enabled: Mapping[str, Filter]) -> Any:
    """The account of the stage on what `write` wrote."""
    section = decide.DecideSection()
    sections = {"run": RunSection(root=store.root), "decide": section}
    ctx: Context[Any] = Context("decide", spark, store, section, sections, enabled)
    account = decide.build(ctx)[0]
    account.check("decide")
    return account


def default_filters() -> dict[str, Filter]:
    """The filters of conf/default.toml with its settings."""
    known = filters.load()
    chosen = tomllib.loads((_CONF / "default.toml").read_text(encoding="utf-8"))["filters"]
    return {n: TypeAdapter(known[n]).validate_python(s) for n, s in chosen.items()}


def _by_language() -> Filter:
    kind: Any = filters.load()["clip_similarity"]
    made: Filter = kind(low=Relative(keep=0.3, per="language"))
    return made


def write(store: Store, enabled: Mapping[str, Filter], pairs: int) -> None:
    """The tables that `decide` reads, in files of half a million rows."""
    table = measures_table(measured_fields(enabled))
    pictures = max(1, int(pairs / _CAPTIONS))
    for part, start in enumerate(range(0, pairs, _FILE_ROWS)):
        numbers = np.arange(start, min(start + _FILE_ROWS, pairs), dtype=np.int64)
        with store.publish_part(table, part) as sink:
            sink.write(_measures(table, enabled, numbers, pictures))
    edges = _edges(pictures)
    with store.publish_part(NEIGHBORS, 0) as sink:
        sink.write(edges)
    for empty in (COPIES, RELEASED_NEIGHBORS, NULL_SCORES):
        with store.publish_part(empty, 0):
            pass


def _ids(numbers: Numbers, kind: int) -> pa.Array:
    return as_binary(_id_bytes(numbers, kind))


def _id_bytes(numbers: Numbers, kind: int) -> Digests:
    """16 bytes for each number, as random as hashes: uint8 [rows, 16]."""
    words = np.empty((len(numbers), 2), np.uint64)
    for place in range(2):
        seed = np.uint64(2 * kind + place)
        words[:, place] = _mix(numbers.astype(np.uint64) * np.uint64(8) + seed)
    return words.view(np.uint8)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014)."""
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _chance(numbers: Numbers, kind: int) -> Floats:
    """A number in [0, 1) for each, the same for equal ones."""
    mixed = _mix(numbers.astype(np.uint64) * np.uint64(256) + np.uint64(kind))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53


def _measures(
    table: Table, enabled: Mapping[str, Filter], numbers: Numbers, pictures: int
) -> pa.Table:
    """Rows of `measures`: every picture has a caption, the other captions lie anywhere."""
    image = np.where(numbers < pictures, numbers, (_chance(numbers, 0) * pictures).astype(np.int64))
    languages = np.array(_LANGUAGES)[
        np.searchsorted(np.cumsum(_LANGUAGE_SHARES)[:-1], _chance(numbers, 1), side="right")
    ]
    side = 150 + (_chance(image, 2) * 1500).astype(np.int64)
    normal = np.sqrt(-2 * np.log1p(-_chance(numbers, 3))) * np.cos(2 * np.pi * _chance(numbers, 4))
    made: dict[str, Any] = {
        "pair_id": _ids(numbers, 0),
        "image_id": _ids(image, 1),
        "fingerprint": _ids(_fingerprint(image, pictures), 2),
        "caption_lang": languages,
        "original_width": side,
        "original_height": side * 3 // 4,
        "body_bytes": side * side // 8,
        "clip_similarity": 0.3 + 0.05 * normal,
    }
    for kind, bound in enumerate(b for f in enabled.values() for b in f.bounds()):
        if bound.measure in table.schema.names and bound.measure not in made:
            made[bound.measure] = _around(bound, numbers, 8 + kind)
    columns = []
    for field in table.schema:
        value = made.get(field.name)
        if value is None and field.nullable:
            column = pa.nulls(len(numbers), field.type)
        elif value is None:
            column = _constant(field, len(numbers))
        else:
            column = (
                value
                if isinstance(value, pa.Array)
                else pa.array(value).cast(field.type, safe=False)
            )
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=table.schema)


def _around(bound: Any, numbers: Numbers, kind: int) -> Floats:
    """Values of which 2% fail the bound, and the others take up to a hundred inside."""
    low, high = bound.low, bound.high
    steps = np.floor(_chance(numbers, kind) * 100)
    is_flag = bound.measure.startswith(("is_", "has_"))
    if low is not None:
        span = 0 if is_flag else (high - low if high is not None else max(abs(low), 1) * 10)
        inside = low + steps / 100 * span
    else:
        inside = high - steps / 100 * (0 if is_flag else abs(high))
    outside = low - 1 if low is not None else high + 1
    found: Floats = np.where(_chance(numbers, kind + 100) < 0.02, outside, inside)
    return found


def _constant(field: pa.Field, rows: int) -> pa.Array:
    value: Any = "x" if pa.types.is_string(field.type) else 1
    if pa.types.is_binary(field.type):
        value = b"x" * 16
    return pa.repeat(pa.scalar(value, field.type), rows)


def _fingerprint(image: Numbers, pictures: int) -> Numbers:
    """The number of each picture's fingerprint: its own, but 5% have that of another one."""
    other = (_chance(image, 5) * pictures).astype(np.int64)
    is_repeated = (_chance(image, 6) < 0.05) & (_chance(other, 6) >= 0.05)
    return np.where(is_repeated, other, image)


def _edges(pictures: int) -> pa.Table:
    """Three in ten pictures are near the first of their ten, or near the one before them."""
    image = np.arange(pictures, dtype=np.int64)
    chance = _chance(image, 7)
    near = np.where(chance < 0.15, image // 10 * 10, image - 1)
    chosen = (chance < 0.3) & (near >= 0) & (near != image)
    a, b = (_fingerprint(side[chosen], pictures) for side in (image, near))
    both = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)[a != b], axis=0)
    first, second = (_id_bytes(both[:, end], 2) for end in range(2))
    # As big-endian words, ids compare as their bytes do.
    is_ordered = (first.view(">u8")[:, 0] < second.view(">u8")[:, 0])[:, None]
    distance = (_chance(both[:, 0], 255) * 3).astype(np.int32) * 2
    columns = {
        "fingerprint_a": as_binary(np.where(is_ordered, first, second)),
        "fingerprint_b": as_binary(np.where(is_ordered, second, first)),
        "distance": pa.array(distance),
        "distance256": pa.array(distance * 4),
        "rule": pa.array(["perceptual"] * len(both)),
    }
    return pa.table(columns).cast(NEIGHBORS.schema)
