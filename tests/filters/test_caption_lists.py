"""Filters on the words of captions: block lists, vocabularies, function words, parts of speech."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.caption_flagged_words import CaptionFlaggedWords
from filters.caption_parts_of_speech import CaptionPartsOfSpeech
from filters.caption_stop_words import CaptionStopWords
from filters.caption_vocabulary import CaptionVocabulary
from filters.caption_word_repetition import CaptionWordRepetition
from pipeline.core.codepoints import Codepoints
from pipeline.core.errors import InputError
from pipeline.core.word_lists import KOREAN_PARTICLES, WordList
from tests.filters.oracle import DATA, captions, measured, pairs, reasons

FLAGGED = CaptionFlaggedWords(
    lists={code: str(DATA / f"flagged-{code}.txt") for code in ("en", "ko", "zh")}
)


def flagged(language: str, *texts: str) -> list[int]:
    batch = pairs(*({"caption": text, "caption_lang": language} for text in texts))
    found: list[int] = measured(FLAGGED, batch)["caption_flagged_words"]
    return found


def test_words_are_whole_words() -> None:
    texts = "Heck, a dog", "check the hecks", "darn darn!", "heck-darn", "HECK", "a dog"
    assert flagged("en", *texts) == [1, 0, 2, 2, 1, 0]


def test_phrases_and_parts() -> None:
    texts = (
        "red flip-flop",
        "flip the flop",
        "Well known!",
        "well",
        "grozorkle",
        "flip flip flop",
        "flop",
    )
    assert flagged("en", *texts) == [1, 0, 1, 0, 1, 1, 0]


def test_korean_words_take_particles() -> None:
    texts = (
        "바보",
        "바보가 왔다",
        "바보들이",
        "개나리",
        "개의 집",
        "멍청이 같은 사진",
        "멍청이",
        "바보상자",
    )
    assert flagged("ko", *texts) == [1, 1, 1, 0, 1, 1, 0, 0]


def test_unspaced_words_are_found_anywhere() -> None:
    assert flagged("zh", "你是笨蛋吗", "傻傻的狗", "在海滩上的狗") == [1, 2, 0]


def test_a_list_is_for_its_language() -> None:
    assert flagged("de", "heck", "바보") == [0, 0]
    assert flagged("und", "heck", "바보") == [1, 1]
    for_all = CaptionFlaggedWords(lists={"any": str(DATA / "flagged-en.txt")})
    batch = pairs({"caption": "heck", "caption_lang": "de"})
    assert reasons(for_all, batch) == ["caption_flagged_words_high"]


def test_shares_of_flagged_words() -> None:
    chosen = CaptionFlaggedWords(lists=FLAGGED.lists, max_words=None, max_ratio=0.3)
    batch = captions("heck of a dog", "well known dog", "a dog")
    assert measured(chosen, batch)["caption_flagged_ratio"] == [0.25, pytest.approx(2 / 3), 0]
    assert reasons(chosen, batch) == [None, "caption_flagged_ratio_high", None]


def test_a_list_of_many_words_finds_the_same() -> None:
    words = [f"w{n}" for n in range(50_000)]
    many = WordList.of([*words, "heck", "*zork*"])
    text = Codepoints.of(pa.array(["heck w49999 w50000", "azorkb"]))
    found, covered = many.count(text, text.lengths > 0)
    assert found.tolist() == covered.tolist() == [2, 1]


SPACED = st.lists(st.sampled_from(["a", "b", "ab", "개", "개가", "A", "-", "' "]), max_size=12).map(
    " ".join
)
ENTRIES = st.lists(
    st.sampled_from(["a", "b", "a b", "ab a", "b b b", "개", "개 a"]), max_size=5, unique=True
)


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


@given(st.lists(SPACED, max_size=5), ENTRIES)
def test_entries_by_their_definition(texts: list[str], entries: list[str]) -> None:
    text = Codepoints.of(pa.array(texts, pa.string()))
    found, covered = WordList.of(entries).count(text, text.lengths >= 0)
    phrases = {tuple(words_of(entry)) for entry in entries}
    for row, words in enumerate(map(words_of, texts)):
        at = hits = cover = 0
        while at < len(words):
            size = max(
                (
                    n
                    for n in range(1, 4)
                    if tuple(words[at : at + n]) in phrases and at + n <= len(words)
                ),
                default=0,
            )
            if not size and any(
                words[at] == w[0] + p
                for w in phrases
                if len(w) == 1 and w[0] == "개"
                for p in KOREAN_PARTICLES
            ):
                size = 1
            hits += size > 0
            cover += size
            at += max(size, 1)
        assert (found[row], covered[row]) == (hits, cover)


@given(
    st.lists(st.text("ab狗猫 ", max_size=12), max_size=5),
    st.lists(st.text("狗猫a", min_size=1, max_size=3), max_size=4),
)
def test_entries_anywhere_by_their_definition(texts: list[str], entries: list[str]) -> None:
    chosen = {f"*{entry}*" for entry in entries}
    text = Codepoints.of(pa.array(texts, pa.string()))
    found, _ = WordList.of(chosen).count(text, text.lengths >= 0)
    pattern = "|".join(sorted(map(re.escape, entries), key=len, reverse=True))
    expected = [len(re.findall(pattern, text)) if entries else 0 for text in texts]
    assert found.tolist() == expected


@given(st.lists(st.text("aB1'’ -.é한字‌", max_size=20), max_size=6))
def test_words_by_their_definition(texts: list[str]) -> None:
    """Runs of letters, marks and digits, joined by apostrophes, outside of unspaced scripts."""
    tokens = Codepoints.of(pa.array(texts, pa.string())).tokens
    expected = [re.findall(r"[aB1é한]+(?:['’‌][aB1é한]+)*", text) for text in texts]
    assert tokens.counts.tolist() == [len(words) for words in expected]
    flat = [word.lower().replace("’", "'") for words in expected for word in words]
    assert (
        len(set(zip(flat, tokens.hashes.tolist())))
        == len(set(flat))
        == len(set(tokens.hashes.tolist()))
    )


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"", b"# nothing\n\n"])
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        CaptionFlaggedWords(lists={"en": str(path)}).measure_settings()
    with pytest.raises(InputError, match=str(path)):
        reasons(CaptionFlaggedWords(lists={"en": str(path)}), captions("a dog"))


def test_a_longer_list_is_another_measure(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("heck\n")
    chosen = CaptionFlaggedWords(lists={"en": str(path)})
    before = chosen.measure_settings()
    path.write_text("heck\ndarn\n")
    assert chosen.measure_settings() != before


def test_vocabulary() -> None:
    chosen = CaptionVocabulary(lists={"en": str(DATA / "words-en.txt")})
    batch = captions(
        "a brown dog on the beach", "brown dg xkcd beach 12", "It’s the dog 2021", "", "犬"
    )
    assert measured(chosen, batch)["caption_known_words_ratio"] == [1, 0.5, 1, 1, 1]
    low = "caption_known_words_ratio_low"
    assert reasons(chosen, batch) == [None, low, None, None, None]
    assert reasons(chosen, pairs({"caption": "xkcd dg", "caption_lang": "de"})) == [None]


def test_korean_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "ko.txt"
    path.write_text("강아지\n해변\n", "utf-8")
    batch = pairs({"caption": "강아지가 해변에서 zz1 강아지", "caption_lang": "ko"})
    found = measured(CaptionVocabulary(lists={"ko": str(path)}), batch)
    assert found["caption_known_words_ratio"] == [0.75]


def test_stop_words(tmp_path: Path) -> None:
    path = tmp_path / "de.txt"
    path.write_text("der\ndie\ndas\nauf\n")
    batch = pairs(
        {"caption": "A dog on the beach"},
        {"caption": "dog beach sand sea"},
        {"caption": "die Katze auf der Bank", "caption_lang": "de"},
        {"caption": "창가에서 잠든 검은 고양이", "caption_lang": "ko"},
        {"caption": ""},
    )
    found = measured(CaptionStopWords(lists={"de": str(path)}), batch)["caption_stop_words_ratio"]
    assert found == [0.6, 0, 0.6, 1, 1]
    low = "caption_stop_words_ratio_low"
    assert reasons(CaptionStopWords(), batch) == [None, low, None, None, None]


def test_words_that_recur() -> None:
    texts = "a dog on a beach", "red shoes blue shoes red shoes", "신발 신발 신발", "a dog", ""
    chosen = CaptionWordRepetition(words=2, max_repeated_words=0.2)
    found = measured(chosen, captions(*texts))
    assert found["caption_repeated_words_ratio"] == pytest.approx([0.2, 0.5, 2 / 3, 0, 0])
    assert found["caption_word_repetition_ratio"] == pytest.approx([0, 0.4, 1, 0, 0])
    high = ["caption_repeated_words_ratio_high", "caption_word_repetition_ratio_high"]
    assert reasons(chosen, captions(*texts)) == [None, high[0], high[1], None, None]


@given(st.lists(st.lists(st.sampled_from("abc한"), max_size=14), max_size=6), st.integers(1, 5))
def test_word_repetition_by_its_definition(rows: list[list[str]], n: int) -> None:
    found = measured(CaptionWordRepetition(words=n), captions(*(" ".join(row) for row in rows)))
    for i, words in enumerate(rows):
        counts = Counter(tuple(words[j : j + n]) for j in range(len(words) - n + 1))
        repeated = sum(count for count in counts.values() if count > 1)
        ratio = repeated / max(counts.total(), 1)
        assert found["caption_word_repetition_ratio"][i] == pytest.approx(ratio)
        again = (len(words) - len(set(words))) / max(len(words), 1)
        assert found["caption_repeated_words_ratio"][i] == pytest.approx(again)


def test_parts_of_speech() -> None:
    chosen = CaptionPartsOfSpeech(
        determiner=True, preposition=True, lexicon=str(DATA / "lexicon-en.txt")
    )
    texts = (
        "A brown dog on the beach", "click here now", "very nice", "brown dog", "her dog runs to me",
        "Zugspitze with the fluffling", "12 34",
    )  # fmt: skip
    noun, determiner = "has_noun_low", "has_determiner_low"
    assert reasons(chosen, captions(*texts)) == [None, noun, noun, determiner, None, None, noun]
    korean = pairs(
        {"caption": "아주 좋다", "caption_lang": "ko"}, {"caption": "x", "caption_lang": "und"}
    )
    assert reasons(chosen, korean) == [None, None]


def test_without_a_lexicon_the_package_is_named() -> None:
    if importlib.util.find_spec("textblob"):
        assert reasons(CaptionPartsOfSpeech(), captions("a dog", "very nice")) == [
            None,
            "has_noun_low",
        ]
        return
    with pytest.raises(InputError, match="pip install textblob"):
        CaptionPartsOfSpeech().measure_settings()
