"""Kept pairs and their texts, together by image, to rows of CANDIDATES."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline.core.errors import ContractError
from pipeline.core.reasons import CaptionKind
from pipeline.core.tables import CAPTION
from pipeline.dedupe.keys import halves, starts
from pipeline.dedupe.tables import CANDIDATE_FILE, TOLD

_TOLD_WITH_KEY = TOLD.append(pa.field("domain_key", pa.int64(), nullable=False))
_KINDS = pa.array([kind.value for kind in CaptionKind])


def tell(counted: pa.Table, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of TOLD, with the column `domain_key` (COUNTED.domain) appended: texts beside counts.

    counted: rows of COUNTED of one part of ROWS. rows: that part's batches, in order.
    """
    row = counted.column("place").to_numpy() & 0xFFFFFFFF
    order = np.argsort(row, kind="stable")
    row, counted = row[order], counted.take(pa.array(order)).combine_chunks()
    first = 0
    for batch in rows:
        low, high = np.searchsorted(row, (first, first + batch.num_rows))
        if high > low:
            texts = batch.take(pa.array(row[low:high] - first))
            beside = counted.slice(low, high - low)
            columns = {**_by_name(texts), **_by_name(beside), "domain": texts.column("domain")}
            arrays = [columns[n] for n in TOLD.names] + [_array(beside.column("domain"))]
            yield pa.RecordBatch.from_arrays(arrays, schema=_TOLD_WITH_KEY)
        first += batch.num_rows
    if len(row) and row[-1] >= first:
        raise ContractError(f"a part of {first} rows is asked for row {row[-1]}")


def _by_name(rows: pa.RecordBatch | pa.Table) -> dict[str, pa.Array]:
    return {name: _array(rows.column(name)) for name in rows.schema.names}


def _array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def build(told: pa.Table) -> pa.Table:
    """Rows of CANDIDATES but `part`, ordered by image_id, captions by pair_id.

    told: rows of TOLD in any order, all of each image in it. An image's `url` is that of the pair
    with the smallest `row`. Raises ContractError for a null where there may be none.
    """
    image_hi, image_lo = halves(_array(told.column("image_id")))
    pair_hi, pair_lo = halves(_array(told.column("pair_id")))
    order = np.lexsort((pair_lo, pair_hi, image_lo, image_hi))
    column = _by_name(told.take(pa.array(order)))
    is_image = starts(image_hi[order], image_lo[order])
    first = np.flatnonzero(is_image)
    row = column["row"].to_numpy()
    smallest = np.flatnonzero(row == np.minimum.reduceat(row, first)[np.cumsum(is_image) - 1])
    shown = smallest[np.searchsorted(smallest, first)]
    kinds = column["kinds"].to_numpy()
    lowest = np.log2(kinds & -kinds).astype(np.int8) if len(kinds) else kinds
    column |= {"caption_kinds": column["kinds"], "caption_kind": _KINDS.take(pa.array(lowest))}
    captions = pa.StructArray.from_arrays(
        [_checked(column[f.name], f) for f in CAPTION], fields=list(CAPTION)
    )
    values = {name: column[name].take(pa.array(first)) for name in ("image_id", "canonical_url")}
    values |= {
        "url": column["url"].take(pa.array(shown)),
        "domain": column["domain"].take(pa.array(first)),
        "page_optout": column["optout"].take(pa.array(first)),
        "pages": column["image_pages"].take(pa.array(first)),
        "page_domains": column["image_page_domains"].take(pa.array(first)),
        "captions": pa.ListArray.from_arrays(
            pa.array([*first, len(order)], pa.int32()), captions
        ).cast(CANDIDATE_FILE.field("captions").type),
    }
    arrays = [_checked(values[f.name], f) for f in CANDIDATE_FILE]
    return pa.Table.from_arrays(arrays, schema=CANDIDATE_FILE)


def _checked(values: pa.Array, field: pa.Field) -> pa.Array:
    if values.null_count and not field.nullable:
        raise ContractError(f"candidates: {values.null_count} nulls in {field.name}")
    return values
