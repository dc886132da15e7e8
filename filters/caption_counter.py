"""Captions that are a date, a time, a price or a counter."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = (
    r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?|[월화수목금토일]요일|"
    r"[月火水木金土日]曜日?|星期[一二三四五六日天]|周[一二三四五六日]|"
    r"(?:\([월화수목금토일月火水木金土日]\)))"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATES = (
    r"\d{4}[-./]\s?\d{1,2}(?:[-./]\s?\d{1,2}\.?)?",  # 2021-03-04, 2021.03, 2021. 3. 4.
    r"\d{1,2}[-./]\d{1,2}[-./]\d{2,4}",  # 4/3/2021
    rf"{_DAY} (?:of )?{_MONTH},? ?(?:\d{{4}})?",  # 4th of March 2021
    rf"{_MONTH} (?:{_DAY})?,? ?(?:\d{{4}})?",  # March 4, 2021
    r"(?:\d{2,4} ?년 ?)?\d{1,2} ?월(?: ?\d{1,2} ?일)?",  # 2021년 3월 4일
    r"\d{4} ?년(?:도)?",
    r"(?:\d{2,4} ?年 ?)?\d{1,2} ?月(?: ?\d{1,2} ?[日号號])?",  # 2021年3月4日
    r"\d{4} ?年",
)
_TIMES = (
    r"\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]\.?m\.?)?(?: ?(?:utc|gmt|kst|est|pst)(?:[+-]\d+)?)?",
    r"\d{1,2} ?[ap]\.?m\.?",
    r"(?:오전|오후|午前|午後|上午|下午) ?\d{1,2}(?::\d{2}| ?[시時时点](?: ?\d{1,2} ?[분分])?)",
    r"\d{1,2} ?시(?: ?\d{1,2} ?분)?",
    r"\d+ (?:seconds?|minutes?|mins?|hours?|days?|weeks?|months?|years?)(?: ago)?",
    r"\d+ ?(?:초|분|시간|일|주|개월|년) ?전",
)
_MOMENT = "(?:" + "|".join((*_DATES, *_TIMES, rf"\(?{_WEEKDAY}\)?")) + ")"
_STAMP = (
    r"(?:(?:posted|published|updated|uploaded|created|taken|last modified|date|on|등록일|작성일|"
    r"게시일|입력|수정|최종 ?수정|날짜|일시)[ :：]*(?:on|at|by)?[ :：]*)?"
)
_AMOUNT = r"[\d][\d.,]*(?: ?[km만천억万])?"
_LABEL = (
    r"(?:image|photo|picture|pic|img|slide|page|fig(?:ure)?\.?|no\.?|number|item|step|part|chapter|"
    r"view|thumbnail|gallery|product|screenshot|frame|file|#|№|이미지|사진|그림|페이지|슬라이드|번호|"
    r"상품|제품|썸네일|캡처|화면|画像|写真|图片|照片|图|第)"
)
_UNIT = r"(?:번째|번|장|쪽|페이지|枚|张|页|頁|号|번 ?사진|번 ?이미지)"
_COUNTED = (
    r"(?:views?|likes?|comments?|shares?|downloads?|votes?|reviews?|ratings?|stars?|followers?|"
    r"replies|hits?|plays?|photos?|images?|pictures?|items?|results?|pages?|points?|%|off|명|건|개|"
    r"장|점|회|조회|원|won|krw|usd|eur|円|元|€|\$|£|₩)"
)
_COUNT_NAME = (
    r"(?:views?|likes?|comments?|reviews?|rating|price|qty|quantity|total|조회 ?수?|추천 ?수?|"
    r"댓글 ?수?|좋아요|리뷰|평점|가격|판매가|정가|할인가|수량)"
)
_COUNTERS = (
    rf"{_LABEL}? ?[-#:]? ?\d{{1,6}} ?{_UNIT}? ?(?:of|/|out of|중|~|–|-|—|から) ?\d{{1,6}}"
    rf" ?{_UNIT}?",
    rf"{_LABEL} ?[-#:]? ?\d{{1,6}} ?{_UNIT}?",
    rf"\d{{1,6}} ?{_UNIT}",
    rf"[$€£¥₩+-]? ?{_AMOUNT} ?(?:{_COUNTED})?(?: ?[-~–] ?[$€£¥₩]? ?{_AMOUNT} ?(?:{_COUNTED})?)?",
    rf"{_COUNT_NAME} ?[:：]? ?\(?[$€£¥₩]? ?{_AMOUNT} ?(?:{_COUNTED})?\)?",
    r"[\d\s.,:;/()\[\]|+*#×x%°'\"–—~-]+",  # nothing but numbers
)
_WHOLE = (
    rf"(?i)^[\s(\[]*(?:{_STAMP}{_MOMENT}(?:[\s,·|~–-]*{_MOMENT})*|"
    + "|".join(_COUNTERS)
    + r")[\s)\].!]*$"
)
_MOST_CHARS = 64


@dataclass(frozen=True)
class CaptionCounter(Filter):
    """Whether the whole caption is a date, a time, a price, a number or a counter.

    "2021-03-04", "March 4th, 2021", "2021년 3월 4일 (목)", "3 of 12", "Image 4", "사진 3", "조회수
    1,234", "$12.99", "12,900원". A caption that holds more than that is left alone. The words are
    those of English and Korean, and of dates in Japanese and Chinese.

    Source: ISO 8601 and Unicode's CLDR, date formats of en, ko, ja and zh, for dates; the counters
    are those of photo galleries and shops, as WordPress, Naver and Cafe24 write them.
    """

    reads = ("caption",)
    measures = (column("is_counter", pa.int8(), "1: a date, a number or a counter, nothing else"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        captions = pc.fill_null(batch.column("caption"), "")
        text = Codepoints.of(batch.column("caption"))
        digits = text.count(CharClass.DIGIT)
        # The patterns are slow; what they match is short and has a digit.
        may_be = (digits > 0) & (text.lengths <= _MOST_CHARS)
        # Of words in letters at most some: "Posted on Thursday 4th of March 2021, 10 am".
        may_be &= text.tokens.counts <= 12
        found = np.zeros(batch.num_rows, np.int8)
        asked = captions.filter(pa.array(may_be))
        found[may_be] = pc.match_substring_regex(asked, _WHOLE).to_numpy(zero_copy_only=False)
        return [pa.array(found)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_counter", high=0),)
