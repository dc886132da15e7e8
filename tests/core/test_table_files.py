"""Batches become row groups: nothing lost, none small but the last."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.table_files import row_groups


@given(
    st.lists(st.lists(st.text(max_size=20), max_size=8), max_size=20),
    st.integers(1, 30),
    st.integers(1, 400),
)
def test_groups_are_large_enough_and_hold_all_rows_in_order(
    texts: list[list[str]], rows: int, most_bytes: int
) -> None:
    schema = pa.schema([("text", pa.string())])
    batches = [pa.RecordBatch.from_pydict({"text": t}, schema) for t in texts]
    found = list(row_groups(iter(batches), rows, most_bytes))
    assert [t for group in found for t in group["text"].to_pylist()] == sum(texts, [])
    for group in found[:-1]:
        assert group.num_rows >= rows or group.nbytes >= most_bytes
    for group in found:  # what was there before the last batch was less than asked for
        before = group.slice(0, group.num_rows - group["text"].chunks[-1].__len__())
        assert before.num_rows < rows
