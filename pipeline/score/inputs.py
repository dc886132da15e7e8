"""What a part embeds, and where what was embedded before lies."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.rows import RowReader
from pipeline.core.tables import ID, Table, column

Mask = NDArray[np.bool_]


class Track(NamedTuple):
    """One kind of what there is of pictures or captions: model and kind as in EMBEDDINGS."""

    model: str
    kind: str


# The numbers of pixel scorers, which lie in PICTURE_SCORES.
PIXELS = Track("", "pixels")

STORED = pa.struct(
    [
        column("model", pa.string(), "a model of this run; empty: pixel scorers"),
        column("kind", pa.string(), "as in EMBEDDINGS, or 'pixels'"),
        column("file", pa.string(), "the Parquet file that holds it"),
        column("row", pa.int64(), "in that file, from 0"),
    ]
)

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
            column("stored", pa.list_(STORED), "what was found of it before", null="nothing"),
            column("part", pa.int32(), "part that embeds it; of a picture, its bytes' too"),
        ]
    ),
    partition="part",
)


class Held:
    """What was found before of rows of INPUTS, by track.

    Of several that are there, the one of the first file and row is taken.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._ids = rows.column("content_id")
        stored = rows.column("stored").combine_chunks()
        chunks = stored.chunks if isinstance(stored, pa.ChunkedArray) else [stored]
        lists = chunks[0] if chunks else pa.array([], pa.list_(STORED))
        flat = pc.list_flatten(lists)
        self._of = pc.list_parent_indices(lists).to_numpy()
        self._model, self._kind = flat.field("model"), flat.field("kind")
        files = flat.field("file").dictionary_encode()
        self._files = files.dictionary.to_pylist()
        self._file, self._row = files.indices.to_numpy(), flat.field("row").to_numpy()
        names = np.argsort(np.array(self._files, dtype=object), kind="stable")
        rank = np.empty(len(names), np.int64)
        rank[names] = np.arange(len(names))
        self._order = np.lexsort((self._row, rank[self._file]))[::-1]
        self._known: dict[Track, NDArray[np.int64]] = {}

    def _at(self, track: Track) -> NDArray[np.int64]:
        """For each row the place among all that is stored, -1 for none."""
        if track not in self._known:
            is_of = pc.and_(pc.equal(self._model, track.model), pc.equal(self._kind, track.kind))
            chosen = self._order[is_of.to_numpy(zero_copy_only=False)[self._order]]
            at = np.full(len(self._rows), -1, np.int64)
            at[self._of[chosen]] = chosen  # the last one stays, which is the first of the order
            self._known[track] = at
        return self._known[track]

    def has(self, track: Track) -> Mask:
        """Which rows have it."""
        found: Mask = self._at(track) >= 0
        return found

    def take(self, reader: RowReader, track: Track, keep: Mask, columns: list[str]) -> pa.Table:
        """content_id and those columns of the rows kept, all of which must have it; in their order.

        Raises InputError where a file is gone, or holds something else there.
        """
        at = self._at(track)[keep]
        ids = self._ids.filter(pa.array(keep)).combine_chunks()
        order, tables = [], []
        for file in np.unique(self._file[at]):
            mine = np.flatnonzero(self._file[at] == file)
            path = self._files[file]
            try:
                found = reader.take(path, self._row[at[mine]], ["content_id", *columns])
            except (FileNotFoundError, IndexError) as error:
                raise InputError(f"{_gone(path)}: {error}") from None
            if not found.column("content_id").combine_chunks().equals(ids.take(pa.array(mine))):
                raise InputError(f"{_gone(path)}: it holds other rows by now")
            order.append(mine)
            tables.append(found)
        if not tables:
            return pa.table({"content_id": pa.array([], ID), **{n: [] for n in columns}})
        back = np.argsort(np.concatenate(order), kind="stable")
        return pa.concat_tables(tables).take(pa.array(back))


def _gone(path: str) -> str:
    return f"{path}, which was to be taken over, is not as it was; run score again with --redo"
