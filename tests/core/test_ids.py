"""Ids of whole columns: the bytes that hashlib gives, for every length, slice and script."""

import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import ids

# Around the block of 128 bytes, with and without the 16 bytes of an image id before the text.
LENGTHS = [*range(300), 383, 384, 385, 512, 1_000, 4_095, 4_096, 100_003]


def _oracle(message: bytes) -> bytes:
    return blake2b(message, digest_size=16).digest()


def test_digests_of_every_length() -> None:
    texts = ["".join(chr(33 + (7 * n + i) % 90) for i in range(n)) for n in LENGTHS]
    found = ids.digests(pa.array(texts))
    assert found.shape == (len(texts), 16) and found.dtype == np.uint8
    assert [row.tobytes() for row in found] == [_oracle(text.encode()) for text in texts]
    assert found[3].tobytes() == ids.image_id(texts[3]) == ids.text_id(texts[3])


def test_pair_digests_of_every_length() -> None:
    captions = ["".join(chr(33 + (5 * n + i) % 90) for i in range(n)) for n in LENGTHS]
    images = np.random.default_rng(1).integers(0, 256, (len(captions), 16)).astype(np.uint8)
    found = ids.pair_digests(images, pa.array(captions))
    assert [row.tobytes() for row in found] == [
        ids.pair_id(image.tobytes(), caption)
        for image, caption in zip(images, captions, strict=True)
    ]


@given(st.lists(st.text(max_size=200), max_size=8), st.integers(0, 3), st.booleans())
def test_any_text_in_any_slice(texts: list[str], start: int, is_strided: bool) -> None:
    captions = pa.array(texts, pa.string())[start:]
    images = np.random.default_rng(len(texts)).integers(0, 256, (2 * len(captions), 16))
    images = images.astype(np.uint8)[::2] if is_strided else images.astype(np.uint8)[::-2]
    assert [row.tobytes() for row in ids.digests(captions)] == [
        ids.text_id(text) for text in texts[start:]
    ]
    assert [row.tobytes() for row in ids.pair_digests(images, captions)] == [
        ids.pair_id(image.tobytes(), text)
        for image, text in zip(images, texts[start:], strict=True)
    ]


def test_column_of_digests_is_a_view() -> None:
    digests = ids.digests(pa.array(["a", "", "한국어"]))
    column = ids.as_binary(digests)
    column.validate(full=True)
    assert column.type == pa.binary() and column.null_count == 0
    assert column.to_pylist() == [ids.text_id("a"), ids.text_id(""), ids.text_id("한국어")]
    assert column.buffers()[2].address == digests.ctypes.data
    assert ids.as_binary(digests[1:]).to_pylist() == column.to_pylist()[1:]
    assert ids.as_binary(digests[::2]).to_pylist() == column.to_pylist()[::2]
    assert ids.as_binary(digests[:0]).to_pylist() == []


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="string array"):
        ids.digests(pa.array([1, 2]))
    with pytest.raises(ValueError, match="2 captions"):
        ids.pair_digests(np.zeros((1, 16), np.uint8), pa.array(["a", "b"]))
    with pytest.raises(ValueError, match="1 captions"):
        ids.pair_digests(np.zeros((1, 2), np.uint64), pa.array(["a"]))


def test_ids_of_single_things_need_no_compiler() -> None:
    check = "import sys; from pipeline.core import ids; ids.image_id('x'); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
