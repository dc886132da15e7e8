"""One part's pictures as embeddings: what was embedded before is read, the rest made.

Rows come in windows by content_id, so that memory holds one window and the batches under way. A
vector depends in its last bits on the batch it is made in: batches follow content_id, never the
order of the tar, which is the order of arrival.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.rows import RowReader
from pipeline.core.tables import COPY_MODEL, EMBEDDINGS, ID
from pipeline.core.vectors import pack, unpack
from pipeline.score.fresh import Batch, Job, Todo, made
from pipeline.score.inputs import PIXELS, Held, Mask, Track
from pipeline.score.looks import Numbers
from pipeline.score.scorers import Scorers

# Rows of a window, about: a row group of some 1 MiB of each model's vectors.
_WINDOW = 1024


class Window(NamedTuple):
    """A part's rows between two content_ids. embeddings: rows of EMBEDDINGS, a table for each
    track. scores: rows of PICTURE_SCORES; None without scorers. rows: that came in; unreadable:
    of them, pictures that do not decode. made: new vectors; held: those that were there before."""

    embeddings: list[pa.Table]
    scores: pa.Table | None
    rows: int
    unreadable: int
    made: int
    held: int


def embed_pictures(
    job: Job, part: int, rows: pa.Table, scores: pa.Schema | None = None
) -> Iterator[Window]:
    """The pictures among INPUTS rows of a part, which must be sorted by content_id.

    scores: schema of PICTURE_SCORES, where there are scorers. Raises InputError when the part's tar
    or weights are missing, or when what was embedded before is not where it was.
    """
    pictures = _Pictures(job, rows)
    todo = Todo(job, part, rows, pictures.missing, pictures.unmeasured)
    size = job.batch * max(_WINDOW // job.batch, 1)
    windows = [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]
    batches = [todo.batches(window, job.batch) for window in windows]
    done = made(job, todo, [batch for own in batches for batch in own])
    score = None if scores is None else _Scoring(job.scorers, scores)
    with RowReader() as reader:
        for window, own in zip(windows, batches, strict=True):
            yield pictures.window(reader, window, list(islice(done, len(own))), score)


class _Pictures:
    """Rows of INPUTS that are pictures. missing: which lack the vectors of a track; unmeasured:
    which lack the numbers of pixel scorers."""

    def __init__(self, job: Job, rows: pa.Table) -> None:
        self._rows, self._held = rows, Held(rows)
        every = np.ones(len(rows), np.bool_)
        for_copies = rows.column("for_copies").to_numpy().astype(np.bool_)
        wanted = {t: for_copies if t.model == COPY_MODEL else every for t in job.tracks}
        has = {track: self._held.has(track) for track in wanted}
        self._kept = {track: mask & has[track] for track, mask in wanted.items()}
        self.missing = {track: mask & ~has[track] for track, mask in wanted.items()}
        has_numbers = self._held.has(PIXELS)
        self._measured = has_numbers if job.scorers.pixels else ~every
        self.unmeasured = ~has_numbers if job.scorers.pixels else ~every

    def window(
        self, reader: RowReader, window: slice, found: Sequence[Batch], score: "_Scoring | None"
    ) -> Window:
        """What there is of a window of the rows. found: what was made of it now."""
        readable = self._readable(window, found)
        tables, held = {}, 0
        for track, kept in self._kept.items():
            before = self._held.take(reader, track, readable & kept, ["vector"])
            fresh = [batch.vectors[track] for batch in found if track in batch.vectors]
            tables[track] = in_order(track, before, fresh)
            held += len(before)
        scored = None
        if score is not None:
            known = self._held.take(reader, PIXELS, readable & self._measured, score.pixel_names)
            numbers = {k: v for batch in found for k, v in batch.numbers.items()}
            ids = self._rows.column("content_id").filter(pa.array(readable))
            scored = score(ids, tables, known, numbers)
        rows = window.stop - window.start
        new = sum(len(table) for table in tables.values()) - held
        return Window(list(tables.values()), scored, rows, rows - int(readable.sum()), new, held)

    def _readable(self, window: slice, found: Sequence[Batch]) -> Mask:
        """Which rows are in the window and could be decoded, as far as they had to be: [rows]."""
        inside = np.zeros(len(self._rows), np.bool_)
        inside[window] = True
        unreadable = [content_id for batch in found for content_id in batch.unreadable]
        if unreadable:
            lost = pc.is_in(self._rows.column("content_id"), pa.array(unreadable, pa.binary()))
            inside &= ~lost.to_numpy()
        return inside


def in_order(
    track: Track, before: pa.Table, fresh: Sequence[tuple[list[bytes], NDArray[np.float32]]]
) -> pa.Table:
    """Rows of EMBEDDINGS, sorted by content_id, of vectors that were there and of new ones, float32
    [n, width] with their content_ids."""
    ids = [*before.column("content_id").chunks, *(pa.array(ids, ID) for ids, _ in fresh)]
    vectors = [*before.column("vector").cast(pa.binary()).chunks, *(pack(v) for _, v in fresh)]
    table = pa.table(
        {
            "content_id": pa.chunked_array(ids, pa.binary()),
            "vector": pa.chunked_array(vectors, pa.binary()),
        }
    ).sort_by("content_id")
    names = {"model": track.model, "kind": track.kind}
    for name, value in names.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table.select(EMBEDDINGS.schema.names).cast(EMBEDDINGS.schema)


class _Scoring:
    """Makes rows of PICTURE_SCORES; the heads are loaded once."""

    def __init__(self, scorers: Scorers, schema: pa.Schema) -> None:
        self.pixel_names = [field.name for field in scorers.pixel_fields]
        self._schema = schema
        self._heads = [(head, head.load()) for head in scorers.heads]

    def __call__(
        self,
        ids: pa.ChunkedArray,
        tables: dict[Track, pa.Table],
        known: pa.Table,
        numbers: dict[bytes, Numbers],
    ) -> pa.Table:
        """Of pictures in order of content_id: numbers of pixel scorers that were known, or found
        now, and those of heads on the stored embeddings. Raises ValueError for a head that gives
        other columns than it declares."""
        columns: dict[str, Any] = {"content_id": ids}
        found = dict(numbers)
        known_ids = known.column("content_id").to_pylist()
        rows = zip(*(known.column(name).to_pylist() for name in self.pixel_names), strict=True)
        found |= dict(zip(known_ids, rows, strict=False)) if self.pixel_names else {}
        in_order = [found[content_id] for content_id in ids.to_pylist()] if self.pixel_names else []
        for i, name in enumerate(self.pixel_names):
            values = [numbers_of[i] for numbers_of in in_order]
            columns[name] = pa.array(values, self._schema.field(name).type)
        for head, score in self._heads:
            vectors = tables[Track(head.model, "image")].column("vector").combine_chunks()
            arrays = score(unpack(vectors))
            for field, array in zip(head.fields, arrays, strict=True):
                if len(array) != len(ids):
                    raise ValueError(f"{field.name}: {len(array)} values for {len(ids)} pictures")
                columns[field.name] = array
        return pa.table(columns).select(self._schema.names).cast(self._schema)
