"""Kernels that go through bytes word by word, beside Python's own loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.jit import kernel
from pipeline.core.words import (
    equal_bytes,
    find_byte,
    find_pair,
    last_word,
    load_word,
    repeated,
    store_word,
    to_lower,
)

ANY = st.binary(max_size=40)


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(data), np.uint8)


@kernel
def _load(data, at):
    return load_word(data, at)


@kernel
def _equal(data, at, byte):
    return equal_bytes(data, at, byte)


@kernel
def _copy(data, at, out, to):
    store_word(out, to, load_word(data, at))


@given(ANY, st.integers(0, 255), st.data())
def test_find_byte_is_that_of_python(data: bytes, byte: int, draw: st.DataObject) -> None:
    stop = draw.draw(st.integers(0, len(data)))
    start = draw.draw(st.integers(0, stop))
    found = data.find(bytes([byte]), start, stop)
    expected = found if found >= 0 else stop
    assert find_byte(array(data), start, stop, repeated(byte)) == expected


@given(st.text("abc", max_size=120), st.data())
def test_find_pair_is_that_of_python(text: str, draw: st.DataObject) -> None:
    stop = draw.draw(st.integers(0, len(text)))
    start = draw.draw(st.integers(0, stop))
    pair = draw.draw(st.sampled_from(["aa", "ab", "ca", "xy"]))
    found = text.find(pair, start, stop)
    expected = found if found >= 0 else stop
    assert find_pair(array(text.encode()), start, stop, *pair.encode()) == expected


@given(st.binary(min_size=32, max_size=80), st.data())
def test_equal_bytes_has_a_bit_for_each_byte(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 32))
    byte = draw.draw(st.sampled_from([*data, 0, 255]))
    bits = [data[at + i] == byte for i in range(32)]
    assert _equal(array(data), at, byte) == sum(bit << i for i, bit in enumerate(bits))


@given(st.binary(min_size=8, max_size=40), st.data())
def test_words_are_little_endian_at_any_place(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 8))
    assert _load(array(data), at) == int.from_bytes(data[at : at + 8], "little")
    out = array(bytes(len(data)))
    _copy(array(data), at, out, at)
    assert out.tobytes() == bytes(at) + data[at : at + 8] + bytes(len(data) - at - 8)


@given(ANY, st.data())
def test_a_last_word_is_filled_up_with_zeros(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data)))
    stop = draw.draw(st.integers(start, min(len(data), start + 7)))
    found = last_word(array(data), start, stop)
    assert found == int.from_bytes(data[start:stop], "little")


@given(st.binary(min_size=8, max_size=8))
def test_to_lower_touches_ascii_capitals_alone(data: bytes) -> None:
    lower = to_lower(np.uint64(int.from_bytes(data, "little")))
    assert int(lower).to_bytes(8, "little") == data.lower()
