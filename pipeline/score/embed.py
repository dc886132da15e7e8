"""What a part embeds, and its pictures and captions as rows of the embeddings table."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.raw import Place
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDINGS, ID, Table, column
from pipeline.score.clip import Clip
from pipeline.score.pictures import decoded_batches
from pipeline.score.vectors import pack

_WINDOW = 4096  # captions sorted by length together, so that batches hold little padding

INPUTS = Table(
    "score_inputs",
    "What to embed, once each: pictures where they lie and captions. Removed when scored.",
    ("kind", "content_id"),
    pa.schema(
        [
            column("kind", pa.string(), "'image' or 'text'"),
            column("content_id", ID, "first 16 bytes of sha256, or BLAKE2b-128 of the caption"),
            column("image_id", ID, "of a candidate with this picture", null="a caption"),
            column("raw_round", pa.int32(), "which of the part's raw tars", null="a caption"),
            column("raw_offset", pa.int64(), "in the raw tar", unit="bytes", null="a caption"),
            column("raw_bytes", pa.int32(), "stored size", unit="bytes", null="a caption"),
            column("caption", pa.string(), "to embed", null="a picture"),
            column("part", pa.int32(), "part that embeds it; of a picture, its bytes' too"),
        ]
    ),
    partition="part",
)


def embed_pictures(
    model: Clip, store: Store, part: int, rows: pa.Table, batch: int, decode_threads: int
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Rows of EMBEDDINGS for the pictures among INPUTS rows, and how many did not decode.

    store: the run, in whose raw tars of `part` they lie. Batches are made in the order of the rows,
    and a vector depends in its last bits on the batch it is in: the order must be one of content,
    never that of the tar, which is the order of arrival. Reading, decoding and the model overlap.
    """
    names = ("image_id", "raw_round", "raw_offset", "raw_bytes")
    places = zip(*(rows.column(name).to_pylist() for name in names), strict=True)
    ids = rows.column("content_id").to_pylist()
    stored = [
        (content_id, Place(image_id, part, round_, offset, size))
        for content_id, (image_id, round_, offset, size) in zip(ids, places, strict=True)
    ]
    batches = [stored[i : i + batch] for i in range(0, len(stored), batch)]
    for ids, pixels, unreadable in decoded_batches(model, store, batches, decode_threads):
        yield _embedded("image", ids, model.embed_images(pixels, batch)), unreadable


def embed_captions(model: Clip, rows: pa.Table, batch: int) -> Iterator[pa.RecordBatch]:
    """Rows of EMBEDDINGS for the captions among INPUTS rows, in their order."""
    for start in range(0, rows.num_rows, _WINDOW):
        window = rows.slice(start, _WINDOW)
        vectors = model.embed_texts(window.column("caption").to_pylist(), batch)
        yield _embedded("text", window.column("content_id").to_pylist(), vectors)


def _embedded(kind: str, ids: list[bytes], vectors: NDArray[np.float32]) -> pa.RecordBatch:
    columns = [pa.array([kind] * len(ids)), pa.array(ids, ID), pack(vectors)]
    return pa.RecordBatch.from_arrays(columns, schema=EMBEDDINGS.schema)
