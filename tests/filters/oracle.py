"""What a bound means, in plain Python: the reference that filters are tested against."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.filter import Filter
from pipeline.core.tables import column as field
from pipeline.core.tables import pair_view, similarity_fields
from pipeline.score.pixels import FIELDS

# What filters may read beside PAIR_VIEW: the columns of further models and of scorers.
SCORED: list[pa.Field] = [
    *similarity_fields(flipped=True),
    *(field for fields in FIELDS.values() for field in fields),
    *(
        field(name, pa.float32(), "of a head or a function", null="none")
        for name in (
            *("aesthetic_score", "nsfw_score", "watermark_score"),
            *("text_area", "face_count"),
        )
    ),
]
VIEW = pair_view(SCORED)

# A pair that passes every filter.
GOOD: dict[str, Any] = {
    "pair_id": b"p" * 16,
    "image_id": b"i" * 16,
    "url": "https://img.example.com/a/dog.jpg",
    "domain": "example.com",
    "caption": "A brown dog running on the beach",
    "caption_kind": "alt",
    "caption_kinds": 1,
    "caption_lang": "en",
    "caption_lang_confidence": 0.9,
    "pages": 1,
    "caption_images": 1,
    "caption_domains": 1,
    "caption_domain_images": 1,
    "caption_pattern_pairs": 1,
    "page_url": "https://www.example.org/dogs",
    "page_domain": "example.org",
    "page_lang": None,
    "page_lang_detected": "en",
    "page_optout": None,
    "consent": "allowed",
    "format": "JPEG",
    "frames": 1,
    "body_bytes": 80_000,
    "original_width": 800,
    "original_height": 600,
    "width": 512,
    "height": 384,
    "texture": 60,
    "hash64": -7,
    "fingerprint": b"f" * 16,
    "sha256": b"s" * 32,
    "part": 0,
    "raw_round": 0,
    "raw_offset": 512,
    "raw_bytes": 30_000,
    "clip_similarity": 0.31,
    "clip_similarity_flipped": 0.3,
    "sharpness": 900.0,
    "entropy": 7.2,
    "border_share": 0.0,
    "border_top": 0.0,
    "border_bottom": 0.0,
    "border_left": 0.0,
    "border_right": 0.0,
    "collage_seam": 0.1,
    "aesthetic_score": 5.5,
    "nsfw_score": 0.01,
    "watermark_score": 0.1,
    "text_area": 0.0,
    "face_count": 0.0,
    "evaluation_list": None,
}

DATA = Path(__file__).resolve().parent / "data"
# Settings without which a filter cannot be made, or cannot measure where nothing else is installed.
NEEDED: dict[str, dict[str, Any]] = {
    "concept_balance": {"concepts": str(DATA / "concepts.txt")},
    "language_cap": {"max_pairs": 1000},
    "caption_flagged_words": {"lists": {"en": str(DATA / "flagged-en.txt")}},
    "caption_vocabulary": {"lists": {"en": str(DATA / "words-en.txt")}},
    "caption_parts_of_speech": {"lexicon": str(DATA / "lexicon-en.txt")},
}


def made(name: str, kind: type[Filter]) -> Filter:
    """A filter with its defaults, and with what it needs besides."""
    return kind(**NEEDED.get(name, {}))


def pairs(*changes: Mapping[str, Any]) -> pa.RecordBatch:
    """One row per change of the good pair."""
    return pa.RecordBatch.from_pylist([GOOD | change for change in changes], schema=VIEW)


def captions(*texts: str) -> pa.RecordBatch:
    """One row per caption."""
    return pairs(*({"caption": text} for text in texts))


def measured(chosen: Filter, batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """The filter's measures by name."""
    arrays = chosen.measure(batch.select(list(chosen.reads)))
    names = [field.name for field in chosen.measures]
    return {name: array.to_pylist() for name, array in zip(names, arrays, strict=True)}


def reasons(chosen: Filter, batch: pa.RecordBatch) -> list[str | None]:
    """The first bound each row fails, None for a row that passes."""
    columns = batch.to_pydict() | measured(chosen, batch)
    return [
        next(filter(None, (fails(b, columns[b.measure][row]) for b in chosen.bounds())), None)
        for row in range(batch.num_rows)
    ]


def fails(bound: Any, value: float | None) -> str | None:
    """The reason a value is outside a bound: a closed interval, null and NaN are missing."""
    if value is None or math.isnan(value):
        return f"{bound.measure}_missing"
    if bound.low is not None and value < bound.low:
        return f"{bound.measure}_low"
    if bound.high is not None and value > bound.high:
        return f"{bound.measure}_high"
    return None
