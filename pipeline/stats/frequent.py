"""The captions that are on most images."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stats.tally import Row

_SHOWN_CHARS = 200
_SCHEMA = pa.schema([("caption", pa.string()), ("images", pa.int64())])


def frequent(captions: Iterable[tuple[pa.Array, pa.Array]], top: int) -> Iterator[Row]:
    """The figure 'frequent_caption': images of the `top` captions that are on most images, at least
    on two, ties by text; what is the same in the characters that are shown is one, with the most.

    captions: some at a time, and on how many images each is, int64. Only what is on as many images
    as the last of the best so far is looked at more closely.
    """
    best = _SCHEMA.empty_table()
    for texts, images in captions:
        least = best["images"][top - 1].as_py() if best.num_rows >= top else 2
        chosen = pc.fill_null(pc.greater_equal(images, least), False)
        found = pa.table([texts.filter(chosen), images.filter(chosen)], schema=_SCHEMA)
        if found.num_rows:
            best = _best(pa.concat_tables([best, found]), top)
    shown: dict[str, int] = {}
    for row in best.to_pylist():
        text = (row["caption"] or "")[:_SHOWN_CHARS]
        shown[text] = max(row["images"], shown.get(text, 0))
    for text, number in shown.items():
        yield "frequent_caption", "images", text, float(number)


def _best(found: pa.Table, top: int) -> pa.Table:
    each = found.group_by("caption").aggregate([("images", "max")])
    each = each.select(["caption", "images_max"]).rename_columns(["caption", "images"])
    order = pc.sort_indices(each, [("images", "descending"), ("caption", "ascending")])
    return each.take(order[:top])
