"""A sample's members: the caption, and a JSON record of fixed schema without nulls.

Nulls are refused because Hugging Face `datasets` types a JSON field by the first samples it sees:
a field that is null there and filled later fails to load.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.core.raw import PLACE

# Columns of `shard_inputs` that the record and the sidecar are made of.
COLUMNS = (
    "pair_id",
    "image_id",
    "url",
    "domain",
    "caption",
    "caption_lang",
    "caption_url",
    "page_url",
    "page_lang",
    "width",
    "height",
    "original_width",
    "original_height",
    "sha256",
    "clip_similarity",
)


class Record(msgspec.Struct, kw_only=True):
    """The .json member; fields in alphabetical order."""

    caption: str
    caption_lang: str
    caption_url: str
    clip_similarity: float
    domain: str
    height: int
    image_id: str
    key: str
    original_height: int
    original_width: int
    page_lang: str
    page_url: str
    sha256: str
    url: str
    width: int


_ENCODER = msgspec.json.Encoder(order="sorted")


def shortest(value: float) -> float:
    """A float32 as the float64 that prints with as few digits: 0.3, not 0.30000001192092896.

    Raises ValueError on NaN and infinity, which JSON cannot hold.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be stored")
    return float(str(np.float32(value)))


def record(row: Mapping[str, Any]) -> bytes:
    """The .json member of one row with `COLUMNS`."""
    fields = {
        "caption": row["caption"],
        "caption_lang": row["caption_lang"],
        "caption_url": row["caption_url"],
        "clip_similarity": shortest(row["clip_similarity"]),
        "domain": row["domain"],
        "height": row["height"],
        "image_id": row["image_id"].hex(),
        "key": row["pair_id"].hex(),
        "original_height": row["original_height"],
        "original_width": row["original_width"],
        "page_lang": row["page_lang"] or "",
        "page_url": row["page_url"],
        "sha256": row["sha256"].hex(),
        "url": row["url"],
        "width": row["width"],
    }
    return _ENCODER.encode(Record(**fields))


def metadata_fields(measures: list[pa.Field]) -> list[pa.Field]:
    """Sidecar columns after the fixed ones: what one may want to select samples by.

    measures: fields of the `measures` table.
    """
    left_out = {"pair_id", *PLACE}
    return [f for f in measures if f.name not in left_out]
