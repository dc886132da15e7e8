"""Captions that say what a scene shows, in English and Korean, in many phrasings."""

from typing import Literal

import numpy as np

from pipeline.fakeweb.pictures import Group, Scene
from pipeline.fakeweb.shapes import GLYPHS

Lang = Literal["en", "ko"]
WORDS = (4, 15)  # least and most words of a caption, separated by spaces

_NUMBER = {"en": ("", "", "two", "three"), "ko": ("", "한", "두", "세")}
_INVERSE = {"above": "below", "below": "above", "left": "right", "right": "left"}

_SHAPE_EN = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross",),
    "diamond": ("diamond",),
    "crescent": ("crescent", "crescent moon"),
    "flower": ("flower",),
    "arrow": ("arrow",),
    "ring": ("ring",),
}
_SIZE_EN = {"small": ("small", "little", "tiny"), "large": ("large", "big")}
_RELATION_EN = {
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
}
_PATTERN_EN = {
    "striped": ("striped",),
    "checked": ("checked", "checkered"),
    "dotted": ("dotted", "spotted"),
    "wavy": ("wavy",),
    "cloudy": ("cloudy", "mottled"),
}
_OPENING_EN = ("", "", "", "", "picture of ", "drawing of ", "an image showing ", "there is ")

_COLOUR_KO = {
    "red": ("빨간", "빨간색"),
    "orange": ("주황색",),
    "yellow": ("노란", "노란색"),
    "green": ("초록색", "녹색"),
    "blue": ("파란", "파란색"),
    "purple": ("보라색",),
    "pink": ("분홍색",),
    "brown": ("갈색",),
    "grey": ("회색",),
    "black": ("검은", "검은색"),
    "white": ("하얀", "흰색"),
}
_SHAPE_KO = {
    "circle": ("동그라미", "원"),
    "square": ("네모", "정사각형"),
    "triangle": ("세모", "삼각형"),
    "star": ("별",),
    "heart": ("하트",),
    "cross": ("십자가",),
    "diamond": ("마름모",),
    "crescent": ("초승달",),
    "flower": ("꽃",),
    "arrow": ("화살표",),
    "ring": ("고리",),
}
_SIZE_KO = {"small": "작은", "large": "큰"}
_RELATION_KO = {"above": "위에", "below": "아래에", "left": "왼쪽에", "right": "오른쪽에"}
_PATTERN_KO = {
    "striped": ("줄무늬",),
    "checked": ("체크무늬", "바둑판무늬"),
    "dotted": ("물방울무늬", "점무늬"),
    "wavy": ("물결무늬",),
    "cloudy": ("구름무늬", "얼룩무늬"),
}
# Letters and digits whose Korean reading ends in a consonant: 엘, 일, 칠.
_CLOSED_GLYPHS = frozenset("L17")


def describe(scene: Scene, lang: Lang, rng: np.random.Generator) -> str:
    """A caption of 4 to 15 words that is true of the scene; the same for the same `rng` state."""
    say = _english if lang == "en" else _korean
    while True:
        caption = say(scene, rng)
        if WORDS[0] <= len(caption.split(" ")) <= WORDS[1]:
            return caption


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _chance(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _ordered(scene: Scene, rng: np.random.Generator) -> tuple[Group, Group, str]:
    """The groups in the order they are spoken of; the relation of the first to the second."""
    first, second = scene.groups
    assert scene.relation is not None
    if _chance(rng, 0.5):
        return second, first, _INVERSE[scene.relation]
    return first, second, scene.relation


def _with_background(scene: Scene, rng: np.random.Generator) -> bool:
    """Whether the background is spoken of: always when there is little else."""
    return len(scene.groups) == 1 or _chance(rng, 0.65)


def _english(scene: Scene, rng: np.random.Generator) -> str:
    opening = _pick(rng, _OPENING_EN)
    if len(scene.groups) == 1:
        text = _things_en(scene.groups[0], rng)
        plural = scene.groups[0].count > 1
    else:
        first, second, relation = _ordered(scene, rng)
        near = _pick(rng, ("and", "next to", "with")) if _chance(rng, 0.25) else ""
        link = near or _pick(rng, _RELATION_EN[relation])
        text = f"{_things_en(first, rng)} {link} {_things_en(second, rng)}"
        plural = first.count > 1 or link == "and"
    if opening == "there is " and plural:
        opening = "there are "
    if _with_background(scene, rng):
        text += f" {_background_en(scene, rng)}"
    return opening + text


def _things_en(group: Group, rng: np.random.Generator) -> str:
    words = [_NUMBER["en"][group.count]]
    if group.shape in GLYPHS:
        noun = ("number " if group.shape.isdigit() else "letter ") + group.shape
    else:
        noun = _pick(rng, _SHAPE_EN[group.shape])
        if _chance(rng, 0.4):
            words.append(_pick(rng, _SIZE_EN[group.size]))
    words.append(group.colour)
    words.append(noun + ("es" if noun.endswith("s") else "s") if group.count > 1 else noun)
    text = " ".join(word for word in words if word)
    return text if group.count > 1 else f"{_article(text)} {text}"


def _article(text: str) -> str:
    return "an" if text[0] in "aeiou" else "a"


def _background_en(scene: Scene, rng: np.random.Generator) -> str:
    pattern = _pick(rng, _PATTERN_EN[scene.pattern])
    form = int(rng.integers(4))
    if form == 0:
        return f"on {_article(scene.background)} {scene.background} background"
    if form == 1:
        return f"on {scene.background} {pattern} paper"
    words = (pattern, scene.background) if form == 2 else (scene.background, pattern)
    return f"on {_article(words[0])} {' '.join(words)} background"


def _korean(scene: Scene, rng: np.random.Generator) -> str:
    text = f"{_background_ko(scene, rng)} " if _with_background(scene, rng) else ""
    if len(scene.groups) == 1:
        last = scene.groups[0]
        return text + _closing_ko(*_things_ko(last, rng), rng)
    first, second, relation = _ordered(scene, rng)
    other, other_closed = _things_ko(second, rng)
    one, one_closed = _things_ko(first, rng)
    if _chance(rng, 0.25):
        joined = f"{other}{'과' if other_closed else '와'} {one}"
        return text + _closing_ko(joined, one_closed, rng)
    return text + _closing_ko(
        f"{other} {_RELATION_KO[relation]} {one}", one_closed, rng, "있는 그림"
    )


def _closing_ko(
    text: str, closed: bool, rng: np.random.Generator, noun: str = "그려진 그림"
) -> str:
    """End a phrase as a plain noun, a clause, or a sentence. closed: ends in a consonant."""
    subject = "이" if closed else "가"
    form = int(rng.integers(4))
    if form == 0:
        return f"{text}{subject} {noun}"
    if form == 1:
        return f"{text}{subject} 있다"
    if form == 2:
        return f"{text}{subject} 있습니다"
    return text


def _things_ko(group: Group, rng: np.random.Generator) -> tuple[str, bool]:
    """A group's noun phrase, and whether it ends in a consonant."""
    words = [_pick(rng, _COLOUR_KO[group.colour])]
    if group.shape in GLYPHS:
        kind = "숫자" if group.shape.isdigit() else _pick(rng, ("글자", "알파벳"))
        return f"{words[0]} {kind} {group.shape}", group.shape in _CLOSED_GLYPHS
    if _chance(rng, 0.4):
        words.insert(0, _SIZE_KO[group.size])
    noun = _pick(rng, _SHAPE_KO[group.shape])
    words.append(noun)
    if group.count > 1 or _chance(rng, 0.2):
        counter = "송이" if group.shape == "flower" else "개"
        words += [_NUMBER["ko"][group.count], counter]
        return " ".join(words), False
    return " ".join(words), _ends_closed(noun)


def _ends_closed(word: str) -> bool:
    """Whether a Hangul word ends in a consonant.

    Source: Unicode 15, section 3.12: syllables are U+AC00 plus 28 per vowel plus the final's index.
    """
    return (ord(word[-1]) - 0xAC00) % 28 != 0


def _background_ko(scene: Scene, rng: np.random.Generator) -> str:
    colour = _pick(rng, _COLOUR_KO[scene.background])
    pattern = _pick(rng, _PATTERN_KO[scene.pattern])
    form = int(rng.integers(3))
    if form == 0:
        return f"{colour} 배경에"
    return f"{colour} {pattern} {'배경에' if form == 1 else '바탕에'}"
