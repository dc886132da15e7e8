"""Names as hashes, and tables of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.names import hash_exact, hash_name, hash_of, number_of, table

NAMES = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=30)


def array(text: str) -> np.ndarray:
    return np.frombuffer(bytearray(text.encode()), np.uint8)


@given(NAMES, NAMES, NAMES)
def test_a_hash_is_of_the_name_alone(before: str, name: str, after: str) -> None:
    data, start = array(before + name + after), len(before)
    lower = "".join(c.lower() if c.isascii() else c for c in name)
    assert hash_name(data, start, start + len(name)) == hash_of(lower)
    assert hash_exact(data, start, start + len(name)) == hash_of(name)
    assert 0 <= hash_of(name) < 1 << 60


@given(st.sets(NAMES, max_size=200))
def test_a_table_knows_its_names_and_no_other(names: set[str]) -> None:
    known = {name: number for number, name in enumerate(sorted(names)[::2], 1)}
    hashes, numbers = table(known)
    for name in names:
        assert number_of(hash_of(name), hashes, numbers) == known.get(name, 0)


def test_names_that_differ_in_zeros_alone_differ() -> None:
    assert len({hash_of("a" + "\0" * n) for n in range(20)}) == 20
    with pytest.raises(UnicodeEncodeError):
        hash_of("é")
