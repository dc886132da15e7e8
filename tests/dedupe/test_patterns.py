"""Patterns of captions, against regular expressions."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedupe.keys import hashed
from pipeline.dedupe.patterns import patterns
from tests.dedupe.oracle import pattern


def found(*captions: str) -> list[int]:
    texts = pa.array(captions, pa.string())
    result: list[int] = patterns(texts, hashed(texts)).tolist()
    return result


def test_numbers_and_names_do_not_count() -> None:
    same = found(
        "Photo of Jane at the Oscars 2020", "Photo of Jane Doe at the Oscars 2021",
        "Photo of  Élodie at the Golden Globes 1",
    )  # fmt: skip
    assert len(set(same)) == 1
    korean = found("강남구 아파트 매매 3층", "강남구 아파트 매매 12층", "강남구 오피스텔 매매 3층")
    assert korean[0] == korean[1] != korean[2]
    chinese = found("第3张商品图片", "第12张商品图片", "第3张商品照片")
    assert chinese[0] == chinese[1] != chinese[2]


def test_what_is_all_names_or_all_words_is_itself() -> None:
    captions = [
        "Jane Doe 2",
        "New York 3",
        "a brown dog",
        "a brown cat",
        "Photo 3",
        "IMG 4",
        "",
        "개 3",
    ]
    texts = pa.array(captions)
    assert found(*captions) == hashed(texts).tolist()


def test_without_a_caption_the_hash_is_that_of_none() -> None:
    texts = pa.array(["a b 1", None], pa.string())
    assert patterns(texts, hashed(texts)).tolist()[1] == 0


PARTS = st.sampled_from(
    ["a", "see", "Al", "Jo", "12", "3", "가", "개와", "狗", "猫狗", "-", ".", " ", "É"]
)


@given(st.lists(st.lists(PARTS, max_size=9).map("".join), max_size=8))
def test_patterns_by_their_definition(captions: list[str]) -> None:
    hashes = found(*captions)
    for caption, one in zip(captions, hashes, strict=True):
        for other, two in zip(captions, hashes, strict=True):
            assert (one == two) == (pattern(caption) == pattern(other)), (caption, other)
