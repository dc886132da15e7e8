"""What a part embeds, and its pictures and captions as rows of the embeddings table."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.raw import Place
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDINGS, ID, Table, column
from pipeline.core.vectors import pack
from pipeline.score.clip import Clip
from pipeline.score.pictures import Embedder, Stored, decoded_batches

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
            column("for_copies", pa.bool_(), "true: to describe for copy detection as well"),
            column("caption", pa.string(), "to embed", null="a picture"),
            column("part", pa.int32(), "part that embeds it; of a picture, its bytes' too"),
        ]
    ),
    partition="part",
)


# The models of pictures, in their order.
PICTURE_MODELS = ("clip", "copy")


def embed_pictures(
    models: Sequence[Embedder],
    store: Store,
    part: int,
    rows: pa.Table,
    batch: int,
    decode_threads: int,
) -> Iterator[tuple[list[pa.RecordBatch], int]]:
    """Rows of EMBEDDINGS for the pictures among INPUTS rows, and how many did not decode.

    models: CLIP, and the copy-detection model where there is one; a picture is decoded once for
    both. A batch of rows is given for each. store: the run, in whose raw tars of `part` they lie.
    Batches are made in the order of the rows, and a vector depends in its last bits on the batch it
    is in: the order must be one of content, never that of the tar, which is the order of arrival.
    Reading, decoding and the models overlap.
    """
    names = ("image_id", "raw_round", "raw_offset", "raw_bytes")
    places = zip(*(rows.column(name).to_pylist() for name in names), strict=True)
    ids, wanted = (rows.column(name).to_pylist() for name in ("content_id", "for_copies"))
    stored = [
        Stored(content_id, Place(image_id, part, round_, offset, size), 1 + for_copies)
        for content_id, for_copies, (image_id, round_, offset, size) in zip(
            ids, wanted, places, strict=True
        )
    ]
    batches = [stored[i : i + batch] for i in range(0, len(stored), batch)]
    for found, unreadable in decoded_batches(models, store, batches, decode_threads):
        made = [
            _embedded(name, "image", decoded.ids, model.embed_images(decoded.pixels, batch))
            for name, model, decoded in zip(PICTURE_MODELS, models, found, strict=False)
        ]
        yield made, unreadable


def embed_captions(model: Clip, rows: pa.Table, batch: int) -> Iterator[pa.RecordBatch]:
    """Rows of EMBEDDINGS for the captions among INPUTS rows, in their order."""
    for start in range(0, rows.num_rows, _WINDOW):
        window = rows.slice(start, _WINDOW)
        vectors = model.embed_texts(window.column("caption").to_pylist(), batch)
        yield _embedded("clip", "text", window.column("content_id").to_pylist(), vectors)


def _embedded(
    model: str, kind: str, ids: list[bytes], vectors: NDArray[np.float32]
) -> pa.RecordBatch:
    n = len(ids)
    columns = [pa.array([model] * n), pa.array([kind] * n), pa.array(ids, ID), pack(vectors)]
    return pa.RecordBatch.from_arrays(columns, schema=EMBEDDINGS.schema)
