"""Token counts by vocabularies of BERT's and GPT-2's form."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.score.compat import import_open_clip
from pipeline.shards import tokens
from pipeline.shards.tokens import BytePairs, WordPieces
from tests.shards import coyo_rows

PIECES = ["[UNK]", "un", "##aff", "##able", "cafe", "boat", "##s", "-", "'", "2", "##5", "한", "中"]


def bert(*more: str) -> WordPieces:
    return WordPieces("\n".join([*PIECES, *more]).encode())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("   ", 0),
        ("unaffable", 3),  # the example of BERT's own test: un ##aff ##able
        ("Boats", 2),
        ("Café", 1),  # accents go
        ("boat-25", 4),  # boat - 2 ##5
        ("boat's", 3),
        ("xyz boat", 2),  # the whole word is one unknown token
        ("boatxyz", 1),
        ("中中", 2),  # every Han character is a word
        ("한", 1),  # decomposed by the accent rule, as BERT does: unknown, one token
        ("boat\u200bs\x00", 2),  # format and control characters go
        ("s" * 101, 1),
    ],
)
def test_word_pieces(text: str, count: int) -> None:
    assert bert().count(text) == count


def test_tokens_of_bert_are_as_many_as_coyo_publishes() -> None:
    counter = WordPieces("\n".join(["[UNK]", *coyo_rows.VOCABULARY]).encode())
    for caption, _, _, count, _ in coyo_rows.ROWS:
        assert counter.count(caption) == count, caption


def test_tokens_of_gpt_are_as_many_as_coyo_publishes() -> None:
    lines = [merge.replace("|", " ") for merge in coyo_rows.MERGES]
    counter = BytePairs("\n".join(["#version: 0.2", *lines]).encode())
    # The first caption is 16 by GPT-2's list, and 18 there: it may have lost something in print.
    for caption, *_, count in coyo_rows.ROWS[1:]:
        assert counter.count(caption) == count, caption


def test_a_cased_vocabulary_keeps_case_and_accents() -> None:
    cased = bert("A", "B", "Café", "##oat")
    assert (cased.count("Café"), cased.count("Boat"), cased.count("boat")) == (1, 2, 1)


def test_byte_pairs_merge_in_the_order_of_the_list() -> None:
    # b+c comes first, so that a b c is a, bc although a+b is known too.
    found = BytePairs(b"#version: 0.2\nb c\na b\n")
    assert [found.count(t) for t in ("abc", "ab", "abab", "", "é")] == [2, 1, 2, 0, 2]


def test_byte_pairs_split_words_with_the_space_before_them() -> None:
    found = BytePairs("x y\n\u0120 a\n".encode())
    # Ġa | 's is a piece of its own, of two bytes | three digits | two of three spaces, Ġa
    counts = [found.count(t) for t in (" a", "a's", "123", "a   a")]
    assert counts == [1, 3, 3, 4]


@pytest.mark.parametrize("data", [b"", b"a b c\n", b"#version: 0.2\n", b"\xff\xfe"])
def test_what_is_no_list_of_merges_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"/m\.txt"):
        BytePairs(data, "/m.txt")


@pytest.mark.parametrize("data", [b"", b"a\nb\n", b"[UNK]\n\xff"])
def test_what_is_no_vocabulary_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"/v\.txt"):
        WordPieces(data, "/v.txt")


def test_blank_lines_and_carriage_returns_do_no_harm() -> None:
    assert BytePairs(b"\r\na b\r\n\n").count("ab") == 1
    assert WordPieces("\r\n".join(PIECES).encode()).count("boats") == 2


def test_a_page_without_a_space_is_counted_in_no_time() -> None:
    found = BytePairs(b"a b\nab ab\nabab abab\n")
    assert found.count("ab" * 100_000) == 25_000


@pytest.fixture(scope="module")
def clip() -> Any:
    """CLIP's own tokenizer."""
    import_open_clip()
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@given(st.lists(st.text("abeinorst", min_size=1, max_size=15), max_size=5))
def test_merging_is_that_of_clips_own_tokenizer(clip: Any, words: list[str]) -> None:
    """CLIP's differs in what ends a word, not in how pairs are merged."""
    ranks = clip.bpe_ranks
    merged = [m for w in words for m in tokens.merge([*w[:-1], w[-1] + "</w>"], ranks)]
    assert [clip.encoder[m] for m in merged] == clip.encode(" ".join(words))


@given(st.text())
def test_any_text_has_a_count(text: str) -> None:
    assert bert().count(text) >= 0
    assert BytePairs(b"a b\n").count(text) >= (len(text) > 0)
