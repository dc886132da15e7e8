"""The captions on most images, of batches, as of all rows at once."""

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.frequent import frequent

captions = st.lists(
    st.tuples(st.sampled_from(["a", "b", "가", "c" * 300, "c" * 301, "d"]), st.integers(1, 6)),
    max_size=40,
)


@given(captions, st.integers(1, 5), st.lists(st.integers(0, 40), max_size=5))
def test_they_do_not_depend_on_batches(
    rows: list[tuple[str, int]], top: int, cuts: list[int]
) -> None:
    most: dict[str, int] = {}
    for text, images in rows:
        if images > 1:
            most[text] = max(images, most.get(text, 0))
    best = sorted(most, key=lambda text: (-most[text], text.encode()))[:top]
    wanted: dict[str, int] = {}
    for text in best:
        wanted[text[:200]] = max(most[text], wanted.get(text[:200], 0))
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    batches = [
        (
            pa.array([text for text, _ in rows[low:high]], pa.string()),
            pa.array([images for _, images in rows[low:high]], pa.int64()),
        )
        for low, high in pairwise(bounds)
    ]
    found = list(frequent(batches, top))
    assert {(figure, series) for figure, series, _, _ in found} <= {("frequent_caption", "images")}
    assert {bucket: value for _, _, bucket, value in found} == wanted
    assert len(found) == len(wanted)
