"""Rows of PAIRS to KEYS and ROWS: equal pairs of a piece become one before anything is shuffled."""

import numpy as np
import pyarrow as pa

from pipeline.dedupe.keys import halves, hashed, mixed, starts, text_ranks
from pipeline.dedupe.patterns import patterns
from pipeline.dedupe.tables import KEYS, ROWS

READ = [*ROWS.schema.names, "caption_kinds", "page_optout", "archive", "record_offset", "position"]


def reduce(pairs: pa.RecordBatch, part: int, first_row: int) -> tuple[pa.RecordBatch, pa.Table]:
    """(rows of KEYS, rows of ROWS) of a piece.

    pairs: columns READ. part, first_row: where the piece's first row of ROWS will lie.
    """
    columns = _keys(pairs)
    names = ("row", "page", "pair", "has_caption", "image_lo", "image_hi")
    order = np.lexsort([columns[n] for n in names])
    columns = {name: values[order] for name, values in columns.items()}
    pair_key = [columns[n] for n in names[2:]]
    is_pair, is_page = starts(*pair_key), starts(columns["page"], *pair_key)
    pair_first, page_first = np.flatnonzero(is_pair), np.flatnonzero(is_page)
    told = order[_smallest(columns["row"], is_pair, pair_first)]
    has_caption = columns["has_caption"][pair_first]
    chosen = np.sort(told[has_caption])
    place = np.full(len(pair_first), -1, np.int64)
    place[has_caption] = (part << 32) + first_row + np.searchsorted(chosen, told[has_caption])
    ranks, optouts = text_ranks(pairs.column("page_optout"))
    found = {name: columns[name][page_first] for name in KEYS.schema.names if name in columns}
    if len(order):
        found["kinds"] = np.bitwise_or.reduceat(columns["kinds"], page_first)
        ranks = np.minimum.reduceat(ranks[order], page_first)
    found["place"] = place[np.cumsum(is_pair)[page_first] - 1]
    arrays = [pa.array(found[n]) for n in KEYS.schema.names[:-1]] + [optouts.take(pa.array(ranks))]
    keys = pa.RecordBatch.from_arrays(arrays, schema=KEYS.schema)
    return keys, pairs.select(ROWS.schema.names).take(pa.array(chosen))


def _keys(pairs: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Columns of KEYS by name, of every row, and `has_caption`."""
    has_caption = pairs.column("pair_id").is_valid().to_numpy(zero_copy_only=False)
    image_hi, image_lo = halves(pairs.column("image_id"))
    pair = np.zeros(len(has_caption), np.int64)
    pair[has_caption] = halves(pairs.column("pair_id").drop_null())[0]
    page = hashed(pairs.column("page_url"))
    caption = hashed(pairs.column("caption"))
    offset, position = (
        pairs.column(n).to_numpy().astype(np.int64) for n in ("record_offset", "position")
    )
    return {
        "has_caption": has_caption,
        "image_hi": image_hi,
        "image_lo": image_lo,
        "pair": pair,
        "caption": caption,
        "pattern": patterns(pairs.column("caption"), caption),
        "page": page,
        "page_domain": hashed(pairs.column("page_domain")),
        "domain": hashed(pairs.column("domain")),
        "row": mixed(page, hashed(pairs.column("archive")), offset, position),
        "kinds": pairs.column("caption_kinds").to_numpy(),
    }


def _smallest(row: np.ndarray, is_first: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The position of the smallest `row` in each run."""
    if not len(row):
        return first
    least = np.minimum.reduceat(row, first)
    found = np.flatnonzero(row == least[np.cumsum(is_first) - 1])
    positions: np.ndarray = found[np.searchsorted(found, first)]
    return positions
