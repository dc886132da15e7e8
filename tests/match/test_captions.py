"""The order of captions that are unlike each other."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.match.captions import diverse_order, grams

texts = st.lists(st.text(alphabet="ab 가나", max_size=12), max_size=12)


def resemblance(a: str, b: str) -> float:
    """By the definition, over sets of three characters."""
    whole = grams(a) | grams(b)
    return len(grams(a) & grams(b)) / len(whole) if whole else 1.0


@given(texts, st.integers(0, 14))
def test_each_next_caption_is_the_most_unlike_those_before_it(captions: list[str], most: int):
    order = diverse_order(captions, most)
    assert sorted(order) == list(range(len(captions)))
    assert order[:1] == [0][: len(captions)]
    picked = min(most, len(captions))
    for k in range(1, picked):
        near = {i: max(resemblance(captions[i], captions[j]) for j in order[:k]) for i in order[k:]}
        assert order[k] == min(near, key=lambda i: (near[i], i))
    rest = order[picked:]
    assert rest == sorted(rest)


def test_case_and_spacing_make_no_difference_and_words_do():
    boats = ["A red boat", "a  RED boat ", "a red boats", "the harbour of Busan", "부산항의 배"]
    assert diverse_order(boats, 3)[:3] == [0, 3, 4]
    assert diverse_order(boats, 5)[-1] == 1
    assert grams("") == grams("   ") and len(grams("배")) == 1
