"""The normal form of captions: its rules, and the kernels against the general path."""

import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.strings import views
from pipeline.extract import caption_kernels as kernels
from pipeline.extract.caption_tables import character_table, suspect_pairs
from pipeline.extract.captions import (
    MAX_CAPTION_CHARS,
    changed,
    normalise,
    normalise_text,
)


def by_column(texts: list[str]) -> list[str]:
    found: list[str] = normalise(pa.array(texts, pa.string())).to_pylist()
    return found


def verdicts(texts: list[str]) -> list[int]:
    found = np.empty(len(texts), np.uint8)
    ends, data = views(pa.array(texts, pa.string()))
    kernels.examine(ends, data, character_table(), suspect_pairs(), MAX_CAPTION_CHARS, found)
    return found.tolist()


RULES = [
    ("", ""),
    ("a red car", "a red car"),
    ("  a\t\r\n b ", "a b"),
    ("a&amp;b &#233; &nosuch; & c", "a&b é &nosuch; & c"),
    ("AT&T &amp;amp; R&D;", "AT&T &amp; R&D;"),
    ("e\u0301te\u0301", "été"),
    ("\u1112\u1161\u11ab", "한"),
    ("a\u200bb\ufeff\u00ad\u202ec", "abc"),
    ("a\x00b\x07\x9f", "ab\u0178"),  # 9F is what a browser shows for it, a letter
    ("a\u3000\u00a0b", "a b"),
    ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
    ("\u200b \u00a0", ""),
    ("\u2126 \uf900", "Ω 豈"),
    ("ก\u0e49\u0e38", "ก\u0e38\u0e49"),  # marks in the order of their classes
]


@pytest.mark.parametrize(("text", "clean"), RULES)
def test_normal_form(text: str, clean: str) -> None:
    assert normalise_text(text) == clean
    assert by_column([text]) == [clean]


MOJIBAKE = [
    ("MedellÃ\xadn", "Medellín"),
    ("SolidaritÃ© NumÃ©rique", "Solidarité Numérique"),
    ("itâ€™s a dogâ€¦", "it’s a dog…"),
    ("í•œê°•ì—\x90ì„œ ìž\x90ì\xa0„ê±°", "한강에서 자전거"),
    ("çŒ«ã\x81®å†™çœŸ", "猫の写真"),
    ("ÐšÑ€Ð°Ñ\x81Ð½Ð°Ñ\x8f Ð¼Ð°ÑˆÐ¸Ð½Ð°", "Красная машина"),
    ("RocÃ­o &Atilde;&copy;", "Rocío é"),
    ("quote \x93red\x94 \x96 dash", "quote “red” – dash"),
]


@pytest.mark.parametrize(("text", "clean"), MOJIBAKE)
def test_mojibake_is_repaired(text: str, clean: str) -> None:
    assert normalise_text(text) == clean
    assert by_column([text]) == [clean]
    assert by_column([f"  {text}\n"]) == [clean]


@pytest.mark.parametrize(
    "text",
    [
        "“curly” quotes – and ‘these’…", "ﬁnancial", "ＦＵＬＬ width", "naïve café", "À bientôt",
        "Ângela", "São Paulo — Brasil", "Œuvre d’art", "cœur", "l’été à Paris", "«Война и мир»",
        "„Zamek” w Krakowie", "ÆØÅ æøå", "Ürün görseli", "ẨM THỰC Việt Nam", "20°C ± 2", "½ kg",
        "東京…「駅」", "사진·그림", "£5 or €6", "© 2024 Foo™", "ÉTÉ", "Škoda Šumava", "Ω resistor",
    ],
)  # fmt: skip
def test_what_a_writer_may_mean_is_left(text: str) -> None:
    assert normalise_text(text) == text
    assert by_column([text]) == [text]


def test_long_texts_are_cut() -> None:
    long = "ab " * 10_000
    assert normalise_text(long) == by_column([long])[0] == ("ab " * 3334)[:MAX_CAPTION_CHARS]
    assert len(by_column(["한" * 20_000])[0]) == MAX_CAPTION_CHARS


def test_rows_in_normal_form_are_not_copied() -> None:
    texts = pa.array(["a red car", "빨간 자동차", "", "Голубой вагон"])
    assert normalise(texts) is texts
    assert not changed(texts, normalise(texts)).any()
    mixed = pa.array(["a red car", " x ", "MedellÃ\xadn", ""])
    assert changed(mixed, normalise(mixed)).tolist() == [False, True, True, False]
    sliced = pa.array(["zzz ", "b  b", "e\u0301"]).slice(1)
    assert normalise(sliced).to_pylist() == ["b b", "é"]
    empty = normalise(pa.array([], pa.string()))
    assert len(empty) == 0 and empty.type == pa.string()


def test_ordinary_captions_of_every_script_take_the_short_path() -> None:
    texts = [
        "A brown dog running on the beach", "해변에서 뛰노는 갈색 강아지", "窓辺で眠る黒猫",
        "窗台上睡觉的黑猫", "Чёрная кошка спит", "Gâteau aux fraises", "Zdjęcie produktu",
        "عربي", "แมวดำนอนหลับ", "חתול שחור", "Con mèo đen ngủ bên cửa sổ", "emoji 😀", "R&D at AT&T",
    ]  # fmt: skip
    assert verdicts(texts) == [kernels.UNCHANGED] * len(texts)
    spaced = [f" {text}\n" for text in texts] + ["a  b", "a\u3000b"]
    assert verdicts(spaced) == [kernels.COLLAPSE] * len(spaced)


def check(texts: list[str]) -> None:
    """The kernels and the general path agree, and the form is what it promises."""
    expected = [normalise_text(text) for text in texts]
    assert by_column(texts) == expected
    for clean in expected:
        assert clean == clean.strip() and "  " not in clean and len(clean) <= MAX_CAPTION_CHARS
        assert unicodedata.is_normalized("NFC", clean)
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in clean)
        if "&" not in clean:
            assert normalise_text(clean) == clean


def mojibake_characters() -> str:
    kinds = character_table()
    chosen = (kinds >= kernels.FIRST_SUSPECT) & (kinds < kernels.FIRST_MARK)
    return "".join(map(chr, np.flatnonzero(chosen)))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# What gives the kernels a choice: white space, references, marks, jamo, halves of pairs, mojibake.
AWKWARD = st.text("a Z&#;1x.\t\n\x1c\x85\xa0\u00ad\u200b\u200d\u0301\u0323\u0e38\u0e48\u1100\u1161\u11a8"
                  "가\u09c7\u09be\u2028\u3000\ufeff\U0001d15e😀œÃÂ©°’»вВЂ±âãΒ€")  # fmt: skip


@given(st.lists(TEXTS | AWKWARD, max_size=10))
@example(["Ã\u200b©"])  # mojibake that only shows when what stands between is gone
@example(["&#195;&#169;"])
def test_kernels_equal_the_general_path(texts: list[str]) -> None:
    check(texts)


@given(
    st.lists(st.text(st.sampled_from(mojibake_characters() + "aZ1 .,"), max_size=8), max_size=20)
)
def test_no_mojibake_takes_the_short_path(texts: list[str]) -> None:
    check(texts)


@given(st.lists(st.text(max_size=30), max_size=8), st.sampled_from(["latin-1", "cp1252", "cp1251"]))
def test_misread_texts(texts: list[str], encoding: str) -> None:
    check([text.encode("utf-8", "replace").decode(encoding, "replace") for text in texts])


def test_every_pair_of_mojibake_characters_is_judged() -> None:
    badness = pytest.importorskip("ftfy.badness")
    characters = mojibake_characters()
    texts = [a + first + second + z for a, z in (("", ""), ("a", "b"), (" ", " "))
             for first in characters for second in characters]  # fmt: skip
    short = np.array(verdicts(texts)) != kernels.GENERAL
    assert short.mean() > 0.3
    missed = [texts[i] for i in np.flatnonzero(short) if badness.is_bad(texts[i])]
    assert not missed, missed[:10]


def test_every_character_alone_and_between_letters() -> None:
    basic = [c for c in range(0x10000) if not 0xD800 <= c < 0xE000]
    every = [chr(c) for c in [*basic, *range(0x10000, sys.maxunicode + 1, 61)]]
    for texts in (every, [f"a{c}b" for c in every]):
        expected = [normalise_text(text) for text in texts]
        assert by_column(texts) == expected


def test_real_captions(real_data: Path) -> None:
    alts = pq.read_table(real_data / "expected/cc2dataset-image.parquet")["alt"].drop_null()
    check(sorted(set(alts.to_pylist())))


def test_bytes_that_are_no_text_do_no_harm() -> None:
    """Bytes that are not UTF-8 are left to the general path, whatever they are. With
    NUMBA_BOUNDSCHECK=1 nothing is read or written beyond the arrays."""
    chance = np.random.default_rng(5)
    lead = np.array([0x20, 0x26, 0x3B, 0x61, 0xC3, 0xA9, 0xE2, 0x80, 0x8B, 0xF0, 0xFF, 0xC2, 0xA0])
    data = np.where(
        chance.random(400_000) < 0.8, chance.choice(lead, 400_000), chance.integers(0, 256, 400_000)
    ).astype(np.uint8)
    ends = np.sort(chance.integers(0, len(data) + 1, 60_001)).astype(np.int32)
    found = np.empty(len(ends) - 1, np.uint8)
    table = character_table()
    kernels.examine(ends, data, table, suspect_pairs(), MAX_CAPTION_CHARS, found)
    broken = 0
    for row in range(0, len(found), 7):
        try:
            bytes(data[ends[row] : ends[row + 1]]).decode()
        except UnicodeDecodeError:
            broken += 1
            assert found[row] == kernels.GENERAL
    assert broken > 1000
    out = np.full(len(data) + 8, 0xAA, np.uint8)
    new_ends = np.empty_like(ends)
    none = np.zeros(int((found == kernels.GENERAL).sum()) + 1, np.int32)
    kernels.collapse(ends, data, table, found, none, data[:0], new_ends, out)
    assert (out[-8:] == 0xAA).all() and (np.diff(new_ends) >= 0).all()


def test_white_space_of_any_kind_ends_mojibake() -> None:
    spaces = [chr(c) for c in range(0x3100) if chr(c).isspace()]
    texts = [a + s + b for s in spaces for a in ("Â", "Ã", "â", "Ð", "x") for b in ("0", "", "é")]
    found = normalise(pa.array(texts)).to_pylist()
    assert found == [normalise_text(text) for text in texts]
