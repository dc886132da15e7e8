"""Filters on what captions look like: case, tags, addresses, markup, damage, counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.caption_addresses import CaptionAddresses
from filters.caption_case import CaptionCase
from filters.caption_counter import CaptionCounter
from filters.caption_damage import CaptionDamage
from filters.caption_emoji import CaptionEmoji
from filters.caption_hashtags import CaptionHashtags
from filters.caption_interface_text import CaptionInterfaceText
from filters.caption_markup import CaptionMarkup
from filters.caption_punctuation import CaptionPunctuation
from filters.image_url_words import ImageUrlWords
from pipeline.core.filter import Filter
from tests.filters.oracle import captions, measured, pairs, reasons

# Good captions that none of these filters may drop.
GOOD = (
    "A brown dog running on the beach",
    "The Tower of London at night, seen from the river Thames.",
    "it's a well-known café in Paris – by Jane Doe",
    "Voilà… un chien brun court sur la plage",
    "PÃO DE QUEIJO com café",
    "NESCAFÉ® instant coffee, 200 g jar",
    "Übergrößen für Männer: straße in München",
    "해변에서 뛰노는 갈색 강아지",
    "서울 남산타워의 야경 (2023년 봄)",
    "강아지와 고양이가 창가에서 자고 있다",
    "在海滩上奔跑的棕色小狗",
    "海辺を走る茶色い犬「ポチ」",
    "коричневая собака бежит по пляжу",
    "כלב חום רץ על החוף",
    "Top 10 beaches of 2021",
    "BMW X5",
    "3 of my 12 cats on the sofa",
    "Save 50% on shoes & bags",
    "I <3 New York",
    "2021 Ford Mustang GT in red",
)
FILTERS: list[Filter] = [
    CaptionAddresses(), CaptionCase(), CaptionCounter(), CaptionDamage(), CaptionEmoji(),
    CaptionHashtags(), CaptionInterfaceText(), CaptionMarkup(), CaptionPunctuation(),
]  # fmt: skip


@pytest.mark.parametrize("chosen", FILTERS, ids=lambda f: type(f).__name__)
def test_good_captions_pass(chosen: Filter) -> None:
    found = reasons(chosen, captions(*GOOD))
    assert [text for text, reason in zip(GOOD, found, strict=True) if reason] == []


def dropped(chosen: Filter, *texts: str) -> dict[str | None, list[str]]:
    """Texts by the reason they are dropped for."""
    found: dict[str | None, list[str]] = {}
    for text, reason in zip(texts, reasons(chosen, captions(*texts)), strict=True):
        found.setdefault(reason, []).append(text)
    return found


def test_capitals() -> None:
    shouting = ["BROWN DOG ON THE BEACH", "СОБАКА НА ПЛЯЖЕ ВЕЧЕРОМ", "SUPER ANGEBOT FÜR MÄNNER"]
    calm = ["Brown Dog on the Beach", "BMW X5 M", "NASA 사진", "新商品 SALE"]
    found = dropped(CaptionCase(), *shouting, *calm)
    assert found == {"caption_upper_ratio_high": shouting, None: calm}


def test_headlines_and_first_letters() -> None:
    chosen = CaptionCase(max_capitalised_ratio=0.6, first_capital=True)
    found = dropped(
        chosen,
        "Brown Dog On The Beach",
        "brown dog on the beach",
        "Brown dog",
        "강아지 한 마리",
        '"A dog"',
    )
    assert found == {
        "caption_capitalised_ratio_high": ["Brown Dog On The Beach"],
        "starts_with_lower_case_high": ["brown dog on the beach"],
        None: ["Brown dog", "강아지 한 마리", '"A dog"'],
    }


def test_hashtags() -> None:
    tags = [
        "#dog #beach #sunset",
        "#서울 #여행 #맛집",
        "dog #dog #cute",
        "#犬#猫#旅行",
        "@jane @joe hi",
    ]
    fine = ["a brown dog on the beach #dog", "#1 in sales", "write to a@b.com", "C# and F# chords",
            "해변의 갈색 강아지 사진 #강아지"]  # fmt: skip
    assert dropped(CaptionHashtags(), *tags, *fine) == {
        "caption_hashtag_ratio_high": tags,
        None: fine,
    }
    counted = measured(CaptionHashtags(), captions("#犬#猫#旅行", "a #b c", "a#b"))
    assert counted["caption_hashtags"] == [3, 1, 0]
    assert counted["caption_hashtag_ratio"] == [1, pytest.approx(1 / 3), 0]
    many = CaptionHashtags(max_ratio=1, max_tags=2)
    assert reasons(many, captions("#a #b #c")) == ["caption_hashtags_high"]


def test_emoji() -> None:
    found = dropped(CaptionEmoji(), "🐶🐶🏖 dog", "강아지 🐶🐶🐶", "A dog on the beach 🐶", "👍")
    assert found["caption_emoji_ratio_high"] == ["🐶🐶🏖 dog", "강아지 🐶🐶🐶", "👍"]


def test_addresses() -> None:
    addresses = [
        "https://example.com/a/b.jpg photo", "www.example.com shop", "flickr.com/photos/1234567 dog",
        "see (example.co.kr)", "사진 http://blog.naver.com/dog/1234",
    ]  # fmt: skip
    fine = [
        "A brown dog on the beach, photo by example.com",
        "1.5 m. St.Louis U.S.A.",
        "red/blue v2.0",
    ]
    found = dropped(CaptionAddresses(), *addresses, *fine)
    assert found == {"caption_address_ratio_high": addresses, None: fine}


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-04", "04.03.2021", "March 4, 2021", "4th of March 2021", "Thursday, March 4, 2021",
        "2021년 3월 4일", "2021년 3월 4일 (목)", "2021. 3. 4. 오후 3:12", "3월 4일", "2021年3月4日", "10:30 am",
        "Posted on March 4, 2021", "등록일: 2021.03.04", "3 days ago", "3일 전", "1", "12 / 45",
        "3 of 12", "Image 4", "Slide 3 of 7", "Figure 2.", "사진 3", "사진 3번", "3번째", "5장 중 2",
        "상품 이미지 2".replace("상품 ", ""), "1,234 views", "조회수 1,234", "조회수: 1.2만회", "$12.99",
        "12,900원", "₩ 12,900", "$5 - $10", "1920x1080", "(3)", "4.5 stars", "좋아요 12개", "图片 3",
    ],
)  # fmt: skip
def test_counters(text: str) -> None:
    assert reasons(CaptionCounter(), captions(text)) == ["is_counter_high"]


@pytest.mark.parametrize(
    "text",
    [
        "March of the Penguins", "12 angry men", "Photo 51 of the DNA helix", "2021 calendar",
        "Building 7", "Seoul, March 2021: cherry blossoms", "강아지 3마리", "3월의 서울 벚꽃",
        "2021年の東京オリンピック", "Apollo 11", "may", "7 wonders", "route 66 sign",
    ],
)  # fmt: skip
def test_descriptions_with_numbers(text: str) -> None:
    assert reasons(CaptionCounter(), captions(text)) == [None]


def test_interface_text() -> None:
    whole = [
        "Click to enlarge", "Featured Image", "image", "Slide 3", "No image available.", "LOGO",
        "product image 2", "상품 이미지", "상품이미지 3", "첨부파일", "크게 보기", "[대표 이미지]",
        "클릭하시면 확대됩니다.",
    ]  # fmt: skip
    edges = [
        "Red shoes - click to enlarge", "A dog on the beach stock photo", "Profile photo of Jane",
        "Image may contain: dog, beach", "회사 소개 바로가기", "홍길동 프로필 사진", "클릭하면 다음 사진",
        "Annual report (opens in new window)",
    ]  # fmt: skip
    fine = [
        "A dog with its image in the mirror", "The logo of the Olympic games", "바로가기 버튼을 누르는 손",
        "Photo of a dog", "homes", "강아지 이미지", "click beetle on a leaf", "Zoomへの接続を最適化する",
    ]  # fmt: skip
    found = dropped(CaptionInterfaceText(), *whole, *edges, *fine)
    assert found == {"is_interface_text_high": whole, "has_interface_text_high": edges, None: fine}
    assert reasons(CaptionInterfaceText(edges=False), captions(*edges)) == [None] * len(edges)


@pytest.mark.parametrize(
    "text",
    [
        "<b>Dog</b>", "dog <br/> beach", "Tom &amp; Jerry", "&quot;dog&quot;", "dog&nbsp;beach",
        'src="dog.jpg" a dog', "[caption id=1] dog", "[gallery]", "{{ product.title }}", "{% image %}",
        "%PRODUCT_NAME%", "photo of %s", "%1$s dog", "a {color: red; width: 3px}", "${name} dog",
        "강아지 \\ud55c\\uae00", "dog\\n beach", "%EA%B0%80 dog", "강아지 <strong>사진</strong>",
        "function () { return 1 }", "[object Object]", "{product.title}",
    ],
)  # fmt: skip
def test_markup(text: str) -> None:
    assert reasons(CaptionMarkup(), captions(text)) == ["has_markup_high"]


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d", "I <3 dogs", "AT&T store", "R&D; research", "100% cotton & linen",
        "[Review] new phone", "50%-70% off", "a = b", "C:\\Temp", "{a dog}", "R&B singer", "100%d",
        "[단독] 서울 야경", "5 > 3", "1 >-----> 3",
    ],
)  # fmt: skip
def test_no_markup(text: str) -> None:
    assert reasons(CaptionMarkup(), captions(text)) == [None]


def test_brackets() -> None:
    texts = "a (b) [c]", "a (b", "a b)", "([)]", "「犬」と(猫", "(" * 100, ""
    found = measured(CaptionMarkup(), captions(*texts))["caption_unmatched_brackets"]
    assert found == [0, 1, 1, 2, 1, 100, 0]
    strict = CaptionMarkup(max_unmatched_brackets=0)
    assert reasons(strict, captions("a (b")) == ["caption_unmatched_brackets_high"]


BRACKETS = "()[]<>（）「」«»"


@given(st.lists(st.text(BRACKETS + "ab", max_size=30), max_size=6))
def test_unmatched_brackets_by_their_definition(texts: list[str]) -> None:
    found = measured(CaptionMarkup(), captions(*texts))["caption_unmatched_brackets"]
    opened = dict(zip(BRACKETS[1::2], BRACKETS[::2]))
    for text, unmatched in zip(texts, found, strict=True):
        stack, lost = [], 0
        for c in text:
            if c in opened.values():
                stack.append(c)
            elif c in opened:
                if stack and stack[-1] == opened[c]:
                    stack.pop()
                else:
                    lost += 1
        assert unmatched == lost + len(stack)


@pytest.mark.parametrize(
    "text",
    [
        "caf\ufffd in Paris", "CafÃ© in Paris", "itâ€™s a dog", "한국".encode().decode("latin-1"),
        "í•œêµ­ ì‚¬ì§„", "한국어".encode("euc-kr").decode("latin-1"), "Привет".encode("cp1251").decode("latin-1"),
        "占쏙옙 사진", "锟斤拷", "烫烫烫", "??? ???? dog", "dog\x01", "icon \ue001", "犬の写真".encode().decode("cp1252", "replace"),
        "ï»¿dog", "Ã\x89cole",
    ],
)  # fmt: skip
def test_damage(text: str) -> None:
    assert reasons(CaptionDamage(), captions(text)) == ["caption_damaged_high"]


@pytest.mark.parametrize(
    "text",
    [
        "What??? A dog", "Façade à Paris, été", "voilà…” dit-il", "« MAÇÔ »", "São João", "Æðelstan",
        "naïve café – “crème brûlée”", "점심 식사", "占い師の写真", "50 °C ½ cup", "¿Qué? ¡Sí!", "Á É Í Ó Ú",
        "„Straße“", "5 ³ m²", "ÄÖÜ",
    ],
)  # fmt: skip
def test_no_damage(text: str) -> None:
    assert reasons(CaptionDamage(), captions(text)) == [None]


@given(
    st.text(st.characters(min_codepoint=0x80, max_codepoint=0xFFFF, categories=["L"]), min_size=1)
)
def test_utf8_read_as_windows_1252_is_damage(text: str) -> None:
    """Letters beyond Latin-1's block, which is where words of one letter and a mark are written."""
    if any(ord(c) < 0x800 for c in text):
        text = "한" + text
    damaged = "".join(
        bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b)
        for b in text.encode()
    )
    if len(text) > 1:
        assert measured(CaptionDamage(), captions(damaged))["caption_damaged"][0] > 0


def test_punctuation() -> None:
    keywords = "dog beach sand sea sun brown pet animal running happy summer holiday water"
    korean = "강아지 해변 모래 바다 여름 갈색 애완동물 동물 달리기 행복 휴가 물 사진"
    found = dropped(
        CaptionPunctuation(), keywords, korean, keywords + ".", "dog beach", "狗" * 30, "狗" * 9
    )
    assert found["caption_punctuation_ratio_low"] == [keywords, korean, "狗" * 30]


def test_url_words() -> None:
    batch = pairs(
        *(
            {"url": f"https://example.com/{name}"}
            for name in ("Logo.png", "a/ICON-3.gif", "dog.jpg")
        )
    )
    assert reasons(ImageUrlWords(), batch) == ["has_url_word_high", "has_url_word_high", None]
    assert reasons(ImageUrlWords(words=("d.g", "Dog")), batch) == [None, None, "has_url_word_high"]
