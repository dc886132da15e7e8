"""Filters on captions: rows in, reasons out, in every script they claim."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.caption_alphanumeric import CaptionAlphanumeric
from filters.caption_boilerplate import CaptionBoilerplate
from filters.caption_filename import CaptionFilename
from filters.caption_language import CaptionLanguage
from filters.caption_length import CaptionLength
from filters.caption_pattern import CaptionPattern
from filters.caption_personal_data import CaptionPersonalData
from filters.caption_repetition import CaptionRepetition
from filters.caption_special_characters import CaptionSpecialCharacters
from filters.caption_words import CaptionWords
from pipeline.core.filter import Filter
from tests.filters.oracle import captions, measured, pairs, reasons


def verdicts(chosen: Filter, *texts: str) -> list[str | None]:
    return reasons(chosen, captions(*texts))


def test_length_counts_characters_not_bytes() -> None:
    found = verdicts(CaptionLength(), "abcde", "abcdef", "한국어사진", "한국어 사진", "x" * 1001)
    low, high = "caption_chars_low", "caption_chars_high"
    assert found == [low, None, low, None, high]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("dog", 1),
        ("A brown dog", 3),
        ("  A   brown dog ", 3),
        ("A | brown - dog !", 3),
        ("it's a well-known dog", 4),
        ("서울 남산타워 야경", 3),
        ("아버지가방에들어가신다", 1),
        ("北京", 2),  # 2 characters, 1.65 a word, rounded up
        ("在海滩上奔跑的棕色小狗", 7),
        ("海辺を走る茶色い犬", 6),
        ("iPhone 15 手机壳", 4),
        ("LG전자 세탁기", 2),
        ("café é", 2),
    ],
)
def test_words(text: str, words: int) -> None:
    assert measured(CaptionWords(), captions(text))["caption_words"] == [words]


def test_words_verdicts() -> None:
    found = verdicts(CaptionWords(), "brown dog", "a brown dog", "a " * 257, "黑猫", "窗台上的黑猫")
    low, high = "caption_words_low", "caption_words_high"
    assert found == [low, None, high, low, None]


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=40), max_size=8))
def test_words_of_ascii_are_its_spaced_tokens(texts: list[str]) -> None:
    found = measured(CaptionWords(), captions(*texts))["caption_words"]
    spaces = str.maketrans({chr(c): "\0" for c in (28, 29, 30, 31)})  # white space to Python only
    tokens = [text.translate(spaces).split() for text in texts]
    assert found == [sum(any(c.isalnum() for c in token) for token in t) for t in tokens]


def test_language_allow_list() -> None:
    batch = pairs(
        {"caption_lang": "ko", "caption_lang_confidence": 1.0},
        {"caption_lang": "en", "caption_lang_confidence": 0.9},
        {"caption_lang": "und", "caption_lang_confidence": 0.0},
        {"caption_lang": "ko", "caption_lang_confidence": 0.4},
    )
    low = "is_language_allowed_low"
    assert reasons(CaptionLanguage(), batch) == [None] * 4
    assert reasons(CaptionLanguage(languages=("ko",)), batch) == [None, low, low, None]
    assert reasons(CaptionLanguage(languages=("ko", "en")), batch) == [None, None, low, None]


def test_unsure_languages_are_undetermined() -> None:
    batch = pairs(
        *({"caption_lang": "ko", "caption_lang_confidence": p} for p in (0.49, 0.5, 0.51))
    )
    low = "is_language_allowed_low"
    strict = CaptionLanguage(languages=("ko",), min_probability=0.5)
    assert reasons(strict, batch) == [low, None, None]
    unsure = CaptionLanguage(languages=("und",), min_probability=0.5)
    assert reasons(unsure, batch) == [None, low, low]


def test_boilerplate() -> None:
    batch = pairs({"caption_images": 10}, {"caption_images": 11})
    assert reasons(CaptionBoilerplate(), batch) == [None, "caption_images_high"]


def test_boilerplate_by_language() -> None:
    chosen = CaptionBoilerplate(max_images=10, max_images_by_language={"ko": 20, "de": 3})
    batch = pairs(
        *(
            {"caption_lang": code, "caption_images": images}
            for code, images in (
                ("ko", 20), ("ko", 21), ("de", 3), ("de", 4), ("en", 10), ("en", 11), ("und", 11),
            )
        )
    )  # fmt: skip
    ratio, other = "caption_images_ratio_high", "caption_images_other_high"
    assert reasons(chosen, batch) == [None, ratio, None, ratio, None, other, other]


def test_boilerplate_of_one_domain() -> None:
    batch = pairs(
        {"caption_images": 9, "caption_domain_images": 5},
        {"caption_images": 9, "caption_domain_images": 6},
        {"caption_images": 11, "caption_domain_images": 1},
    )
    high = ["caption_domain_images_high", "caption_images_high"]
    assert reasons(CaptionBoilerplate(max_domain_images=5), batch) == [None, *high]
    assert reasons(CaptionBoilerplate(), batch) == [None, None, high[1]]


def test_templates_of_a_site() -> None:
    batch = pairs({"caption_pattern_pairs": 100}, {"caption_pattern_pairs": 101})
    assert reasons(CaptionPattern(), batch) == [None, "caption_pattern_pairs_high"]


def test_alphanumeric() -> None:
    found = verdicts(CaptionAlphanumeric(), "* * * * a *", ">>> 한국 <<<", "हिन्दी", "★★★★★★ 5")
    low = "caption_alnum_ratio_low"
    assert found == [low, low, None, low]
    assert measured(CaptionAlphanumeric(), captions(">> 한국"))["caption_alnum_ratio"] == [0.4]


def test_special_characters() -> None:
    texts = "A brown dog running", "12.99 / 24.50 (2023)", "黑猫在窗台上", "$$$ SALE $$$"
    high = "caption_special_ratio_high"
    assert verdicts(CaptionSpecialCharacters(), *texts) == [None, high, None, high]


def test_repetition() -> None:
    texts = "shoes " * 40, "A brown dog running on the beach at sunset", "신발 " * 60, "short"
    high = "caption_repetition_ratio_high"
    assert verdicts(CaptionRepetition(), *texts) == [high, None, high, None]


@given(st.lists(st.text("ab한 ", max_size=60), max_size=6), st.integers(1, 12))
def test_repetition_by_its_definition(texts: list[str], n: int) -> None:
    found = measured(CaptionRepetition(chars=n), captions(*texts))
    for row, text in enumerate(texts):
        counts = Counter(text[i : i + n] for i in range(len(text) - n + 1))
        repeated = [count for _, count in counts.most_common() if count > 1]
        total = max(counts.total(), 1)
        ratio = found["caption_repetition_ratio"][row]
        assert ratio == pytest.approx(sum(repeated) / total)
        # data-juicer's: no more than the square root of how many there are.
        top = found["caption_top_repetition_ratio"][row]
        assert top == pytest.approx(sum(repeated[: math.isqrt(len(counts))]) / total)


@pytest.mark.parametrize(
    "text",
    [
        "IMG_1234.jpg", "IMG_1234", "DSC01234", "P1010001", "photo-1.JPEG", "final version (2).png",
        "20210304_101112", "KakaoTalk_20210304_101112", "image001", "제목 없음-1", "untitled",
        "스크린샷 2023-01-02", "d41d8cd98f00b204e9800998ecf8427e",
        "123e4567-e89b-12d3-a456-426614174000", "https://example.com/a b".replace(" ", ""),
        "www.example.com", "상품_상세.jpg", "banner.webp?w=300",
    ],
)  # fmt: skip
def test_file_names(text: str) -> None:
    assert verdicts(CaptionFilename(), text) == ["is_filename_like_high"]


@pytest.mark.parametrize(
    "text",
    [
        "A brown dog", "Photo of a dog at www.example.com", "How to open a .jpg file", "P diddy",
        "image of a cat", "IMG Academy football field", "사진 속의 개", "2021 Ford Mustang",
        "pictures from Rome", "PXL", "Picture of Dorian Gray",
    ],
)  # fmt: skip
def test_descriptions_are_no_file_names(text: str) -> None:
    assert verdicts(CaptionFilename(), text) == [None]


@pytest.mark.parametrize(
    "text",
    [
        "write to jane.doe+x@mail.example.co.kr", "call +82 10-1234-5678 now", "문의 010-1234-5678",
        "☎02-123-4567", "(415) 555-2671", "+1 415 555 2671", "01012345678 연락",
        "홍길동 900101-1234567", "SSN 123-45-6789", "card 4111 1111 1111 1111", "5500-0000-0000-0004",
        "IBAN DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432",
    ],
)  # fmt: skip
def test_personal_data(text: str) -> None:
    assert verdicts(CaptionPersonalData(), text) == ["has_personal_data_high"]


@pytest.mark.parametrize(
    "text",
    [
        "A brown dog", "Follow @example", "2023-01-15 at 10:30", "ISBN 978-3-16-148410-0",
        "1920x1080 wallpaper", "991345-1234567", "Canon EOS 5D Mark IV 24-105 mm", "€ 1.234.567",
        "4111 1111 1111 1112", "0000 0000 0000 0000", "666-12-3456", "123-00-4567", "DE89370400440532013001",
    ],
)  # fmt: skip
def test_no_personal_data(text: str) -> None:
    assert verdicts(CaptionPersonalData(), text) == [None]
