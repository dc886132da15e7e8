"""Rows of KEYS, together by image, to rows of COUNTS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.reasons import DropReason
from pipeline.dedupe.keys import Flags, Longs, distinct, starts, text_ranks
from pipeline.dedupe.tables import COUNTS, KEYS

Known = tuple[Longs, Longs]


@dataclass(frozen=True)
class _Runs:
    """Sorted rows of KEYS and where images and pairs begin among them.

    A pair here is also the group of an image's rows without a caption, which come first.
    image_of: of each pair. rows_image, rows_pair: of each row.
    """

    column: dict[str, np.ndarray]
    ranks: npt.NDArray[np.int32]
    optouts: pa.Array
    is_page: Flags
    image_first: Longs
    pair_first: Longs
    rows_image: Longs
    rows_pair: Longs
    image_of: Longs


def count(
    keys: pa.Table, known: Known, max_captions: int
) -> tuple[pa.RecordBatch, Account, Account]:
    """(rows of COUNTS, account of images, account of pairs) of whole images.

    keys: rows of KEYS in any order, all of each image in it. known: halves of ids that an earlier
    crawl holds. The accounts hold what is dropped here alone.
    """
    images, pairs = Account("images"), Account("pairs")
    if not keys.num_rows:
        return _empty(), images, pairs
    runs = _sort(keys)
    has_caption = runs.column["place"][runs.pair_first] >= 0
    captions = np.bincount(runs.image_of[has_caption], minlength=len(runs.image_first))
    first = runs.image_first
    is_known = _known(runs.column["image_hi"][first], runs.column["image_lo"][first], known)
    images.drop(DropReason.REGISTERED, int(is_known.sum()))
    images.drop(DropReason.NO_CAPTION, int((~is_known & (captions == 0)).sum()))
    pairs.drop(DropReason.REGISTERED, int(captions[is_known].sum()))
    counted = has_caption & ~is_known[runs.image_of]
    pages = np.add.reduceat(runs.is_page, runs.pair_first, dtype=np.int64)
    over = _over_cap(runs, pages, counted, captions, max_captions)
    pairs.drop(DropReason.OVER_CAPTION_CAP, int(over.sum()))
    return _rows(runs, pages, counted, over), images, pairs


def _empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([], f.type) for f in COUNTS.schema], schema=COUNTS.schema
    )


def _sort(keys: pa.Table) -> _Runs:
    column = {name: keys.column(name).to_numpy() for name in KEYS.schema.names if name != "optout"}
    has_caption = column["place"] >= 0
    order = np.lexsort(
        (
            column["row"],
            column["page"],
            column["pair"],
            has_caption,
            column["image_lo"],
            column["image_hi"],
        )
    )
    ranks, optouts = text_ranks(keys.column("optout").combine_chunks())
    column = {name: values[order] for name, values in column.items()}
    image = (column["image_hi"], column["image_lo"])
    pair = (*image, has_caption[order], column["pair"])
    is_image, is_pair = starts(*image), starts(*pair)
    rows_image = np.cumsum(is_image) - 1
    pair_first = np.flatnonzero(is_pair)
    return _Runs(
        column,
        ranks[order],
        optouts,
        starts(*pair, column["page"]),
        np.flatnonzero(is_image),
        pair_first,
        rows_image,
        np.cumsum(is_pair) - 1,
        rows_image[pair_first],
    )


def _known(hi: Longs, lo: Longs, known: Known) -> Flags:
    """Which (hi, lo) are among the known ones."""
    found = np.zeros(len(hi), np.bool_)
    if not len(known[0]):
        return found
    known_hi, known_lo = distinct(*known)
    at, end = (np.searchsorted(known_hi, hi, side) for side in ("left", "right"))
    # Ids that agree in their first half: one step each.
    while (at < end).any():
        found |= (at < end) & (known_lo[np.minimum(at, len(known_lo) - 1)] == lo)
        at += 1
    return found


def _over_cap(
    runs: _Runs, pages: Longs, counted: Flags, captions: Longs, max_captions: int
) -> Flags:
    """Which pairs are beyond the most captions of their image: most pages first, then by id."""
    over = np.zeros(len(pages), np.bool_)
    pairs = np.flatnonzero(counted & (captions[runs.image_of] > max_captions))
    if len(pairs):
        image, pair = runs.image_of[pairs], runs.column["pair"][runs.pair_first[pairs]]
        order = np.lexsort((pair, -pages[pairs], image))
        first = np.flatnonzero(starts(image[order]))
        rank = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
        over[pairs[order[rank >= max_captions]]] = True
    return over


def _rows(runs: _Runs, pages: Longs, counted: Flags, over: Flags) -> pa.RecordBatch:
    column, images = runs.column, len(runs.image_first)
    least = np.minimum.reduceat(column["row"], runs.pair_first)
    smallest = np.flatnonzero(column["row"] == least[runs.rows_pair])
    told = smallest[np.searchsorted(smallest, runs.pair_first)]
    kept = counted & ~over
    is_first = np.zeros(len(kept), np.bool_)
    is_first[np.flatnonzero(kept)[starts(runs.image_of[kept])]] = True
    optout = np.minimum.reduceat(runs.ranks, runs.image_first)
    pair = {
        "kinds": np.bitwise_or.reduceat(column["kinds"], runs.pair_first),
        "pages": pages,
        "image_pages": _distinct_of_images(runs, "page", images)[runs.image_of],
        "image_page_domains": _distinct_of_images(runs, "page_domain", images)[runs.image_of],
        "optout": optout[runs.image_of],
    }
    flags = {"is_kept": kept, "is_first": is_first, "is_pair": counted, "is_on_domain": counted}
    further_pairs, further_domains = _further_domains(runs, counted, told, pages)
    rows = np.concatenate([np.flatnonzero(counted), further_pairs])
    own = int(counted.sum())
    arrays = []
    for name in COUNTS.schema.names:
        if name in flags:
            values = flags[name][rows]
            values[own:] = name == "is_on_domain"
        elif name in pair:
            values = pair[name][rows]
        else:
            values = column[name][told[rows]]
            if name == "page_domain":
                values[own:] = further_domains
        arrays.append(runs.optouts.take(pa.array(values)) if name == "optout" else pa.array(values))
    return pa.RecordBatch.from_arrays(arrays, schema=COUNTS.schema)


def _distinct_of_images(runs: _Runs, name: str, images: int) -> Longs:
    """How many distinct values of a column each image has."""
    counts = np.ones(images, np.int64)
    several = np.diff([*runs.image_first, len(runs.rows_image)]) > 1
    rows = several[runs.rows_image]
    image, _ = distinct(runs.rows_image[rows], runs.column[name][rows])
    counts[several] = np.bincount(image, minlength=images)[several]
    return counts


def _further_domains(runs: _Runs, counted: Flags, told: Longs, pages: Longs) -> tuple[Longs, Longs]:
    """(pair, page domain) beside the page domain that each counted pair is told by."""
    rows = (counted & (pages > 1))[runs.rows_pair]
    pair, domain = distinct(runs.rows_pair[rows], runs.column["page_domain"][rows])
    other = domain != runs.column["page_domain"][told[pair]]
    return pair[other], domain[other]
