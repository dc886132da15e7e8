"""A small run made by hand: raw tars, measures and decisions of generated pictures."""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core import ids, raw
from pipeline.core.context import Context
from pipeline.core.storage import Store
from pipeline.core.tables import CUTOFFS, DECISIONS, Table, column, measures_table
from pipeline.stages import shard

WORDS = column("caption_words", pa.int32(), "words", null="cannot be told")
SIDE = column("image_min_side", pa.int32(), "shorter side", unit="pixels")
MEASURES = measures_table([WORDS, SIDE])
_CAPTIONS = ("a red boat, number {}", "검은 고양이 {}", 'quotes "{}" and \\ slashes', "ünïcödé {}")


@dataclass(frozen=True)
class WordsMeasure:
    """Stands where an enabled filter does: all that the stage asks is what it measures."""

    measures: tuple[pa.Field, ...] = (WORDS,)
    reads: tuple[str, ...] = ("caption",)


@dataclass(frozen=True)
class SideMeasure:
    """The same of a picture."""

    measures: tuple[pa.Field, ...] = (SIDE,)
    reads: tuple[str, ...] = ("original_width", "original_height")


@dataclass(frozen=True)
class Pair:
    """A measured pair. jpg: the bytes stored for it. picture_id: of the image it is kept with,
    None for its own."""

    row: dict[str, Any]
    jpg: bytes
    is_kept: bool
    picture_id: bytes | None = None

    @property
    def key(self) -> str:
        return str(self.row["pair_id"].hex())


def picture(seed: int, side: int = 48) -> bytes:
    """A JPEG that depends on the seed alone."""
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def make_pairs(images: int = 50, parts: int = 3) -> list[Pair]:
    """Pairs of `images` pictures, every fifth with two captions, every seventh not kept."""
    found, ends = [], [0] * parts
    for i in range(images):
        url = f"https://host{i % 7}.example/picture-{i}.jpg"
        jpg, image_id = picture(i), ids.image_id(url)
        part = i % parts
        offset = ends[part] + 512
        ends[part] = offset + len(jpg) + -len(jpg) % 512
        for c in range(2 if i % 5 == 0 else 1):
            caption = _CAPTIONS[(i + c) % len(_CAPTIONS)].format(i)
            row = {
                "pair_id": ids.pair_id(image_id, caption),
                "image_id": image_id,
                "url": url,
                "domain": f"host{i % 7}.example",
                "caption": caption,
                "caption_kind": "alt",
                "caption_kinds": 1,
                "caption_lang": "ko" if (i + c) % 4 == 1 else "und",
                "caption_lang_confidence": 0.5,
                "caption_words": 4 if (i + c) % 4 else None,
                "pages": 1,
                "caption_images": 1,
                "caption_domains": 1,
                "caption_domain_images": 1,
                "caption_pattern_pairs": 1,
                "page_url": f"https://page.example/{i}",
                "page_domain": "page.example",
                "page_lang": None if i % 3 else "en",
                "page_lang_detected": "en",
                "page_optout": None,
                "consent": "allowed",
                "format": "JPEG",
                "frames": 1,
                "body_bytes": len(jpg),
                "original_width": 48 + i,
                "original_height": 48 + i,
                "image_min_side": 48 + i,
                "width": 48,
                "height": 48,
                "texture": 50,
                "hash64": i * 0x9E3779B97F4A7C15 % 2**64 - 2**63,
                "fingerprint": image_id,
                "sha256": bytes([i]) * 32,
                "part": part,
                "raw_round": 0,
                "raw_offset": offset,
                "raw_bytes": len(jpg),
                "clip_similarity": 0.1 + i / 1000,
            }
            found.append(Pair(row, jpg, i % 7 != 3))
    return found


def write_raw(store: Store, pairs: list[Pair]) -> None:
    """The raw tars, each picture once, at the offset of its row."""
    by_place = {(p.row["part"], p.row["raw_offset"]): p for p in pairs}
    for part in sorted({part for part, _ in by_place}):
        with store.publish(raw.path(part)) as file:
            tar = raw.RawTar(cast(BinaryIO, file))
            for place in sorted(place for place in by_place if place[0] == part):
                pair = by_place[place]
                assert tar.append(pair.row["image_id"], pair.jpg) == place[1]
            tar.close()


def start(
    spark: Any,
    root: Path,
    pairs: list[Pair],
    slices: int = 2,
    order: int = 0,
    partitions: int = 2,
    **config: Any,
) -> Context[shard.ShardSection]:
    """A run whose upstream is done; rows arrive shuffled, in `slices` partitions."""
    # Sixty rows do not need sixteen partitions; every other test sets what it wants itself.
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    store = Store(str(root))
    write_raw(store, pairs)
    pairs = random.Random(order).sample(pairs, len(pairs))
    decisions = [
        {
            "pair_id": p.row["pair_id"],
            "image_id": p.row["image_id"],
            "is_kept": p.is_kept,
            "reason": None if p.is_kept else "width_low",
            "reasons": [] if p.is_kept else ["width_low"],
            "picture_id": p.picture_id or p.row["image_id"],
            "duplicate_of": p.picture_id,
            "duplicate_rule": "perceptual" if p.picture_id else None,
            "duplicate_distance": 2 if p.picture_id else None,
            "duplicate_similarity": None,
        }
        for p in pairs
    ]
    ctx: Context[shard.ShardSection] = Context(
        "shard",
        spark,
        store,
        shard.ShardSection(**config),
        {},
        {"words": WordsMeasure(), "side": SideMeasure()},  # type: ignore[dict-item]
    )
    _write(ctx, MEASURES, [p.row for p in pairs], slices)
    _write(ctx, DECISIONS, decisions, slices)
    bound = {"filter": "words", "measure": "caption_words", "side": "low", "how": "value"}
    with store.publish_part(CUTOFFS, 0) as sink:
        sink.write_rows([bound | {"value": 3.0}])
    return ctx


def _write(ctx: Context[Any], table: Table, rows: list[dict[str, Any]], slices: int) -> None:
    given = ctx.from_arrow(pa.Table.from_pylist(rows, schema=table.schema))
    ctx.write(table, given.repartition(slices))


def files(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, by relative path."""
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()
    }
