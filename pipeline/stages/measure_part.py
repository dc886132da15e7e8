"""One part of `measure`: its captions beside their pictures and scores, and what filters measure.

The rows of a part lie in one file of each table, so that only what was found by content is brought
there before, by key: INPUTS. Memory: the part's rows of `images` and INPUTS, some 250 bytes each,
and `_GROUP_ROWS` pairs with their texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.accounts import Account
from pipeline.core.errors import ContractError
from pipeline.core.filter import Filter
from pipeline.core.reasons import DropReason, Status
from pipeline.core.storage import PartSink, Store
from pipeline.core.table_files import row_groups
from pipeline.core.tables import (
    CANDIDATES,
    CAPTION,
    ID,
    IMAGES,
    PAIR_VIEW,
    PICTURE,
    SCORES,
    Table,
    column,
    pair_view,
)

_BATCH_ROWS = 8192  # candidates that are read at a time
_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 256 << 20  # of a row group that is written
# Where the columns of the pair view come from; all others were found by content.
_OF_CANDIDATE = ("image_id", "url", "domain", "page_optout")
_OF_CAPTION = tuple(f.name for f in CAPTION if f.name in PAIR_VIEW.names)
_OF_IMAGE = tuple(n for n in PICTURE if n not in _OF_CANDIDATE)
_CAPTION = "captions.list.element."  # of Parquet's name of a column
_IMAGES = pa.schema([IMAGES.schema.field(n) for n in ("image_id", "status", *_OF_IMAGE)])
_IDS = pa.schema([("image_id", ID), ("captions", pa.list_(pa.struct([("pair_id", ID)])))])


def inputs_table(score_fields: Sequence[pa.Field] = ()) -> Table:
    """INPUTS. score_fields: as `tables.pair_view`."""
    similarity = SCORES.schema.field("clip_similarity")
    return Table(
        "measure_inputs",
        "What was found of pairs and their pictures by content, by part: a row for each scored "
        "pair, and for each blocked picture. Removed when all is measured.",
        ("image_id", "pair_id"),
        pa.schema(
            [
                column("image_id", ID, "of the image"),
                column("pair_id", ID, "of the pair", null="the picture is blocked"),
                *(field.with_nullable(True) for field in (similarity, *score_fields)),
                PAIR_VIEW.field("semantic_similarity"),
                PAIR_VIEW.field("evaluation_list"),
                column("part", pa.int32(), "of the image"),
            ]
        ),
        partition="part",
    )


@dataclass(frozen=True)
class PartWork:
    """The work of a task. score_fields: as `tables.pair_view`. filters: those that measure."""

    store: Store
    score_fields: tuple[pa.Field, ...]
    filters: tuple[Filter, ...]

    def __call__(self, part: int, _: None, sink: PartSink) -> None:
        """Write a part of `measures`, in the order of its candidates, with the account of pairs."""
        measured = (self._measured(pairs) for pairs in self._views(part, sink))
        for group in row_groups(measured, _GROUP_ROWS, _GROUP_BYTES):
            sink.write(group)

    def _measured(self, pairs: pa.RecordBatch) -> pa.RecordBatch:
        """Pairs and what is measured of them."""
        found = measure_all(pairs, self.filters)
        schema = pa.schema([*pairs.schema, *found.schema])
        return pa.RecordBatch.from_arrays([*pairs.columns, *found.columns], schema=schema)

    def _views(self, part: int, sink: PartSink) -> Iterator[pa.RecordBatch]:
        """The pair view of a part, piece by piece; first its account."""
        read = self.store.read_part
        ids = read(CANDIDATES, part, ["image_id", f"{_CAPTION}pair_id"], _GROUP_ROWS)
        images = read(IMAGES, part, _IMAGES.names, _GROUP_ROWS)
        beside = Beside(_whole(ids, _IDS), _whole(images, _IMAGES), self._found(part))
        sink.accounts.append(beside.account())
        schema, start = pair_view(self.score_fields), 0
        columns = [*_OF_CANDIDATE, *(_CAPTION + name for name in _OF_CAPTION)]
        for candidates in read(CANDIDATES, part, columns, _BATCH_ROWS):
            yield beside.view(candidates, start, schema)
            start += candidates.num_rows

    def _found(self, part: int) -> pa.RecordBatch:
        """The part's rows of INPUTS."""
        table = inputs_table(self.score_fields)
        schema = pa.schema([field for field in table.schema if field.name != table.partition])
        # Spark writes no folder for a part without rows.
        if not self.store.exists(f"{table.name}/{table.partition}={part}"):
            return _whole([], schema)
        return _whole(self.store.read_part(table, part, schema.names, _GROUP_ROWS), schema)


def _whole(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Batches as one; without any, one of that schema without rows."""
    found = list(batches)
    table = pa.Table.from_batches(found) if found else schema.empty_table()
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


class Beside:
    """Where the image of each candidate of a part lies, and what was found of each pair.

    ids: image_id, and captions with their pair_id, of all candidates. images: `status`, `image_id`
    and the pictures' columns of IMAGES. found: rows of INPUTS. The latter two in any order.

    Raises ContractError for a candidate without a row in `images`.
    """

    def __init__(self, ids: pa.RecordBatch, images: pa.RecordBatch, found: pa.RecordBatch) -> None:
        self._images, self._found = images, found
        # Rows: of each candidate's image; of what was found of each caption.
        self._image = pc.index_in(ids.column("image_id"), images.column("image_id"))
        if self._image.null_count:
            raise ContractError(f"{self._image.null_count} candidates have no row in images")
        lists = ids.column("captions")
        ends = np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
        self._ends = np.concatenate([[0], ends]).astype(np.int64)
        self._row = pc.index_in(pc.list_flatten(lists).field("pair_id"), found.column("pair_id"))
        status = self._status().take(self._image).take(pc.list_parent_indices(lists))
        no_score = pa.scalar(DropReason.NO_SCORE.value)
        without = pc.if_else(self._row.is_valid(), pa.scalar(None, pa.string()), no_score)
        # Of each caption, what it is dropped for; null: it is measured.
        self._dropped = pc.if_else(pc.equal(status, Status.OK.value), without, status)

    def _status(self) -> pa.Array:
        """The status of each image; of a blocked picture that, see `listed.without_blocked`."""
        is_blocked = self._found.column("pair_id").is_null()
        blocked = self._found.column("image_id").filter(is_blocked)
        is_blocked = pc.is_in(self._images.column("image_id"), blocked)
        return pc.if_else(is_blocked, DropReason.BLOCKED.value, self._images.column("status"))

    def account(self) -> Account:
        """The account of the pairs."""
        account = Account("pairs")
        for counted in pc.value_counts(self._dropped).to_pylist():
            if counted["values"] is None:
                account.keep(counted["counts"])
            else:
                account.drop(counted["values"], counted["counts"])
        return account

    def view(self, candidates: pa.RecordBatch, start: int, schema: pa.Schema) -> pa.RecordBatch:
        """The pairs of some candidates that are measured, in their order.

        candidates: the columns that the pair view has of them and of their captions. start: the
        number of the first among all. schema: of `tables.pair_view`.
        """
        first, last = self._ends[[start, start + candidates.num_rows]]
        is_measured = self._dropped.slice(first, last - first).is_null()
        lists = candidates.column("captions")
        captions = pc.list_flatten(lists).filter(is_measured)
        candidate = pc.list_parent_indices(lists).filter(is_measured)
        image = self._image.slice(start, candidates.num_rows).take(candidate)
        row = self._row.slice(first, last - first).filter(is_measured)

        def column_of(name: str) -> pa.Array:
            if name in _OF_CAPTION:
                return captions.field(name)
            if name in _OF_CANDIDATE:
                return candidates.column(name).take(candidate)
            if name in _OF_IMAGE:
                return self._images.column(name).take(image)
            return self._found.column(name).take(row)

        return pa.RecordBatch.from_arrays([column_of(n) for n in schema.names], schema=schema)


def measure_all(batch: pa.RecordBatch, filters: tuple[Filter, ...]) -> pa.RecordBatch:
    """Every measure of the filters, in their order; as long as the batch, if there is any.

    Raises ContractError when a filter gives other columns than it declares.
    """
    arrays, fields = list[pa.Array](), list[pa.Field]()
    for chosen in filters:
        found = chosen.measure(batch.select(list(chosen.reads)))
        name = type(chosen).__name__
        if len(found) != len(chosen.measures):
            raise ContractError(
                f"{name} gave {len(found)} columns, but declares {len(chosen.measures)}"
            )
        for field, array in zip(chosen.measures, found, strict=True):
            if array.type != field.type or len(array) != batch.num_rows:
                raise ContractError(
                    f"{name}: {field.name} is {array.type} [{len(array)}], "
                    f"not {field.type} [{batch.num_rows}]"
                )
            arrays.append(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
            fields.append(field)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
