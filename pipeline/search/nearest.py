"""Questions to an index of kept pictures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.core import raw
from pipeline.core.embeddings import fetch
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.search.building import path

Vector = NDArray[np.float32]
# How many more than asked for an inexact index gives, before they are compared exactly.
_MORE = 8
_PROBES = 32


class Hit(NamedTuple):
    """A kept picture. row: in the index. similarity: the cosine to what was asked. caption: of its
    kept pairs the most similar one, clip_similarity its cosine to the picture."""

    row: int
    similarity: float
    pair_id: bytes
    url: str
    domain: str
    caption: str
    caption_lang: str
    clip_similarity: float


class Nearest:
    """An opened index; for use by one thread at a time.

    Raises InputError where the run has none by the model.
    """

    def __init__(self, store: Store, model: str = "clip") -> None:
        import faiss

        if not store.exists(path(model, "faiss")):
            raise InputError(
                f"{store.root} has no index by a model {model!r}; make index RUN={store.root}"
            )
        self._store, self._model = store, model
        with store.fs.open(store.path(path(model, "faiss")), "rb") as file:
            index: Any = faiss.deserialize_index(np.frombuffer(file.read(), np.uint8))
        self._index, self._is_exact = index, not hasattr(index, "nprobe")
        if not self._is_exact:
            index.nprobe = _PROBES
        self._connection = duckdb.connect()
        file_name = store.path(path(model, "parquet"))
        if not store.is_local:
            self._connection.register_filesystem(store.fs)
            file_name = store.fs.unstrip_protocol(file_name)
        self._connection.read_parquet(file_name).create_view("pictures")

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @property
    def pictures(self) -> int:
        """How many are in it."""
        return int(self._index.ntotal)

    def search(self, vector: Vector, count: int = 24) -> list[Hit]:
        """The nearest to a unit vector, float32 [width], the nearest first."""
        wanted = count if self._is_exact else count * _MORE
        scores, rows = self._index.search(vector[None], min(wanted, self.pictures))
        found = {int(r): float(s) for r, s in zip(rows[0], scores[0], strict=True) if r >= 0}
        known = self._rows(
            list(found), "content_id, pair_id, url, domain, caption, caption_lang, clip_similarity"
        )
        if not self._is_exact:
            found = self._exactly(vector, {row: known[row][0] for row in found})
        nearest = sorted(found, key=lambda row: (-found[row], row))[:count]
        return [Hit(row, found[row], *known[row][1:]) for row in nearest]

    def _exactly(self, vector: Vector, ids: dict[int, bytes]) -> dict[int, float]:
        stored = fetch(self._store, self._model, "image", list(ids.values()))
        cosine = dict(zip(stored.ids, (stored.vectors @ vector).tolist(), strict=True))
        return {row: cosine[content_id] for row, content_id in ids.items() if content_id in cosine}

    def picture(self, row: int) -> bytes:
        """The stored bytes of a picture. Raises InputError where the row or its bytes are not
        there."""
        found = self._rows([row], "image_id, part, raw_round, raw_offset, raw_bytes")
        if row not in found:
            raise InputError(f"the index has no row {row}")
        return raw.read(self._store, [raw.Place(*found[row])])[0]

    def vector(self, row: int) -> Vector:
        """The stored embedding of a picture, float32 [width]. Raises InputError as `picture`."""
        found = self._rows([row], "content_id")
        if row not in found:
            raise InputError(f"the index has no row {row}")
        stored = fetch(self._store, self._model, "image", [found[row][0]])
        if not stored.ids:
            raise InputError(f"{self._store.root} has no embedding of row {row} any more")
        vector: Vector = stored.vectors[0]
        return vector

    def _rows(self, rows: Sequence[int], columns: str) -> dict[int, tuple[Any, ...]]:
        found = self._connection.execute(
            f"SELECT row, {columns} FROM pictures WHERE row IN (SELECT unnest(?))", [list(rows)]
        ).fetchall()
        return {row: tuple(values) for row, *values in found}
