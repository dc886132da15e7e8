"""Captions that are text of a page's interface, or a content system's placeholder."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from pipeline.core.codepoints import UNSPACED, Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column
from pipeline.core.tokens import lower_table
from pipeline.core.word_lists import Table, WordList

# The whole caption, but for numbers, case and punctuation. English, then Korean.
_WHOLE = """
click to enlarge|click to zoom|click here|click image to enlarge|click for larger image
click for full size|click to view|click to expand|tap to zoom|enlarge|enlarge image|zoom|zoom in
view larger|view larger image|view full size|view image|view photo|larger image|full size image
loading|loading image|please wait|image not available|image not found|image unavailable
no image available|no image|no photo|no picture|no photo available|no preview|image coming soon
photo coming soon|coming soon|placeholder|placeholder image|image placeholder|default image
default thumbnail|featured image|post image|post thumbnail|article image|blog image|thumbnail
thumb|thumbnail image|main image|main photo|product image|product photo|product thumbnail
product picture|item image|cover|cover image|cover photo|profile|profile picture|profile photo
profile image|user|user avatar|user image|avatar|author|author image|author photo|gravatar|logo
company logo|site logo|website logo|brand logo|header|header image|header logo|footer|footer logo
banner|banner image|hero image|background|background image|slide|slider|slider image|slideshow
gallery|gallery image|image gallery|photo gallery|carousel image|icon|menu|menu icon|search
search icon|close|close icon|next|previous|prev|back|back to top|scroll to top|arrow|arrow right
arrow left|right arrow|left arrow|down arrow|play|play button|play icon|play video|video
video thumbnail|share|share on facebook|share on twitter|share this|tweet|pin it|follow us
facebook|facebook icon|facebook logo|twitter|twitter icon|twitter logo|instagram|instagram icon
instagram logo|youtube|youtube icon|linkedin|linkedin icon|pinterest|whatsapp|rss|read more
learn more|more|see more|more info|continue reading|view more|view all|details|view details
add to cart|buy now|shop now|add to wishlist|quick view|sold out|sale|free shipping|sign in
sign up|log in|login|register|subscribe|contact|contact us|home|home page|download|print|email
e mail|phone|advertisement|ad|advert|advertising|sponsored|sponsor|image|images|img|photo|photos
picture|pic|graphic|untitled|unnamed|undefined|null|none|nan|object object|test|image description
alt|alt text|image alt|image alt text|image title|image caption|enter image description here
description|photo credit|image credit|embedded image permalink|embedded image|stock photo
stock image|captcha|captcha image|captcha code|qr code|visa|mastercard|paypal|spacer|blank|pixel
tracking pixel|transparent|divider|separator|broken image|image removed|image result
this image has an empty alt attribute
이미지|사진|그림|대표 이미지|대표이미지|대표 사진|상품 이미지|상품이미지|상품 사진|상품사진
제품 이미지|제품 사진|상품 상세 이미지|상품상세이미지|상세 이미지|상세이미지|상품 썸네일|썸네일
섬네일|썸네일 이미지|미리보기|미리보기 이미지|확대 보기|확대보기|확대|크게 보기|크게보기
이미지 확대|이미지 확대보기|이미지 크게 보기|원본 보기|클릭하면 확대됩니다|클릭하시면 확대됩니다
클릭하면 크게 볼 수 있습니다|클릭하시면 크게 보실 수 있습니다|이미지를 클릭하면 확대됩니다
이미지를 클릭하시면 확대됩니다|이미지 없음|이미지없음|등록된 이미지가 없습니다|이미지가 없습니다
이미지가 존재하지 않습니다|이미지 준비중|이미지 준비중입니다|이미지 준비 중입니다|준비중
준비중입니다|사진 없음|사진이 없습니다|첨부 이미지|첨부이미지|첨부 파일|첨부파일|본문 이미지
본문이미지|기본 이미지|기본이미지|프로필|프로필 사진|프로필사진|프로필 이미지|프로필이미지|로고
로고 이미지|로고이미지|배너|배너 이미지|배너이미지|광고|광고 배너|광고배너|광고 이미지|아이콘|버튼
닫기|열기|검색|메뉴|메뉴 열기|메뉴 닫기|전체 메뉴|전체메뉴|이전|다음|이전 글|다음 글|이전 이미지
다음 이미지|더보기|더 보기|자세히 보기|자세히보기|상세보기|상세 보기|바로가기|바로 가기|홈|홈으로
맨 위로|위로|목록|목록으로|공유|공유하기|페이스북|페이스북 공유|페이스북으로 공유|트위터
트위터 공유|카카오톡|카카오톡 공유|카카오스토리|인스타그램|유튜브|네이버|네이버 블로그|네이버 밴드
블로그|밴드|좋아요|댓글|추천|인쇄|인쇄하기|구매하기|바로구매|장바구니|장바구니 담기|관심상품
관심상품 등록|찜하기|품절|일시품절|무료배송|로그인|회원가입|마이페이지|고객센터|로딩중|로딩 중
동영상|동영상 재생|재생|슬라이드|슬라이드 이미지|사용자 삽입 이미지|블로그 이미지|작성자 이미지
작성자 프로필|기자 사진|기사 이미지|기사 사진|관련 사진|관련 이미지|무제|제목 없음|제목없음
파일 다운로드|다운로드|큐알코드|qr코드|메인 이미지|메인이미지|메인 배너|배경|배경 이미지
배경이미지|이벤트 배너|팝업|팝업 이미지|대체 텍스트|이미지 설명|사진 설명|설명
"""
_BEGINNINGS = """
click to|click here to|click here for|click for|click image to|click on|tap to|press to
image may contain|no photo description available|no alternative text description|no alt text
no alternative text|this image has an empty alt attribute|embedded image permalink|view larger
view full size|share on|follow us on|go to slide|profile photo|profile picture|profile image of
user avatar|avatar of|avatar for|thumbnail for|thumbnail of|placeholder for|stock photo
stock image
클릭하면|클릭하시면|이미지를 클릭하면|이미지를 클릭하시면|사진을 클릭하면|사진을 클릭하시면
사용자 삽입 이미지
"""
_ENDINGS = """
click to enlarge|click to enlarge picture|click to zoom|click for larger image
click image to enlarge|embedded image permalink|profile photo|profile picture|profile image
stock photo|stock photos|stock image|stock images|stock vector|stock illustration
opens in new window|opens in a new window|opens in new tab|opens in a new tab|opens image gallery
image not available|no image available
바로가기|바로 가기|새 창 열림|새창 열림|새 창으로 열기|새창으로 열기|새창으로 이동|자세히 보기
확대 보기|확대보기|크게 보기|상세 보기|프로필 사진|프로필 이미지|이미지 없음|페이지 이동
"""


@dataclass(frozen=True)
class CaptionInterfaceText(Filter):
    """Whether the whole caption is text of an interface, and whether it begins or ends with such
    text, in English and Korean.

    "Click to enlarge", "Featured image", "상품 이미지", "첨부파일" and a logo's "logo" describe no
    picture. Case, punctuation and numbers count for nothing, so that "Slide 3" is one too.

    edges: whether a caption that begins or ends with such text is dropped as well: "Red shoes -
        click to enlarge", "A dog stock photo", "회사 소개 바로가기".

    Source: Conceptual Captions (Sharma et al. 2018), section 3: sequences of boilerplate that begin
    or end a text, as "click to enlarge picture", "stock photo", "embedded image permalink" and
    "profile photo"; the others are alt texts that WordPress, Shopify, Facebook, Instagram, Stack
    Exchange, Naver Blog, Cafe24 and Tistory write of themselves.
    """

    edges: bool = True

    reads = ("caption",)
    measures = (
        column("is_interface_text", pa.int8(), "1: all of it is such text"),
        column("has_interface_text", pa.int8(), "1: it begins or ends with such text"),
    )
    bound_settings = ("edges",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.word_list_kernels import find_phrases

        text = Codepoints.of(batch.column("caption"))
        tables = _phrases()
        tokens = text.tokens
        whole, edges = np.empty(text.rows, np.int8), np.empty(text.rows, np.int8)
        find_phrases(
            (text.values, class_table(), lower_table()),
            (tokens.starts, tokens.stops, tokens.hashes, tokens.ends),
            *tables,
            *(whole, edges),
        )
        # Where there is more than words of such scripts, the words are not all of it.
        is_spaced = (text.count(UNSPACED) == 0).astype(np.int8)
        return [pa.array(whole * is_spaced), pa.array(edges * is_spaced)]

    def bounds(self) -> tuple[Bound, ...]:
        bounds = [Bound("is_interface_text", high=0)]
        if self.edges:
            bounds.append(Bound("has_interface_text", high=0))
        return tuple(bounds)


@cache
def _phrases() -> tuple[Table, Table, Table, int, int, int]:
    whole, beginnings, endings = (
        WordList.of(texts.replace("\n", "|").split("|"))
        for texts in (_WHOLE, _BEGINNINGS, _ENDINGS)
    )
    return (
        *(whole.words, beginnings.words, endings.words),
        *(whole.most_words, beginnings.most_words, endings.most_words),
    )
