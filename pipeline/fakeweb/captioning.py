"""Captions of the embedded web, each with the truth about what it is worth."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.model import Image, Label, Lang, Variant
from pipeline.fakeweb.pictures import Scene, sample_scene

_LABEL_SHARES = {
    Label.RIGHT: 0.63,
    Label.WRONG: 0.12,
    Label.BOILERPLATE: 0.09,
    Label.FILENAME: 0.05,
    Label.SHORT: 0.04,
    Label.MISSING: 0.07,
}
_BOILERPLATE: dict[Lang, tuple[str, ...]] = {
    "en": (
        "Company logo",
        "image",
        "Click to enlarge the picture",
        "Photo gallery of our site",
        "No description available for this photo",
        "Advertisement",
    ),
    "ko": (
        "이미지",
        "회사 로고",
        "클릭하면 크게 볼 수 있습니다",
        "첨부파일 이미지 미리보기",
        "사진을 불러오는 중입니다",
        "배너 광고",
    ),
}
_MIRRORED = {"left": "right", "right": "left"}
# A boilerplate text must stand on well over ten images to be one. Source: COYO-700M drops texts
# that occur more than ten times.
_LINKS_PER_BOILERPLATE = 25


class Captioner:
    """Makes captions, drawing on `rng`; in the same order it makes the same ones.

    links: how many captions will be asked for, which says how many boilerplate texts there are.
    pictures: scenes that wrong captions are taken from are those numbered 0 to pictures - 1.
    """

    def __init__(
        self, seed: int, rng: np.random.Generator, links: int, pictures: int, korean_share: float
    ) -> None:
        self._rng = rng
        self._pictures = pictures
        self.scene = lru_cache(maxsize=100_000)(lambda picture: scene_of(seed, picture))
        shares: dict[Lang, float] = {"en": 1 - korean_share, "ko": korean_share}
        expected = links * _LABEL_SHARES[Label.BOILERPLATE]
        self._boilerplate: dict[Lang, tuple[str, ...]] = {
            lang: texts[: max(1, int(expected * shares[lang] / _LINKS_PER_BOILERPLATE))]
            for lang, texts in _BOILERPLATE.items()
        }

    def draw(self, image: Image, lang: Lang, *, must_have: bool) -> tuple[str, Label]:
        """A normalised caption and what it is worth. must_have: it is never missing."""
        labels = list(_LABEL_SHARES)
        label = labels[int(self._rng.choice(len(labels), p=list(_LABEL_SHARES.values())))]
        if label is Label.MISSING and must_have:
            label = Label.RIGHT
        return self._text(label, image, lang), label

    def _text(self, label: Label, image: Image, lang: Lang) -> str:
        rng = self._rng
        if label is Label.RIGHT:
            return describe(self._shown(image), lang, rng)
        if label is Label.WRONG:
            return describe(self._other_scene(image), lang, rng)
        if label is Label.BOILERPLATE:
            texts = self._boilerplate[lang]
            return texts[int(rng.integers(len(texts)))]
        if label is Label.FILENAME:
            return _filename(rng, lang)
        if label is Label.SHORT:
            if lang == "ko":
                return chr(0xAC00 + 28 * int(rng.integers(0, 300)))
            return f"{chr(97 + int(rng.integers(26)))}{int(rng.integers(10))}"
        return ""

    def _shown(self, image: Image) -> Scene:
        scene = self.scene(image.picture)
        if image.variant is Variant.MIRROR and scene.relation in _MIRRORED:
            return replace(scene, relation=_MIRRORED[scene.relation])  # type: ignore[arg-type]
        return scene

    def _other_scene(self, image: Image) -> Scene:
        """A scene with nothing in it that the image's own has."""
        own = _things(self.scene(image.picture))
        while True:
            other = self.scene(int(self._rng.integers(self._pictures)))
            if not own & _things(other):
                return other


def scene_of(seed: int, picture: int) -> Scene:
    """The scene with this number in the web of this seed."""
    return sample_scene(np.random.default_rng([seed, 7, picture]))


def _things(scene: Scene) -> set[str]:
    return {group.shape for group in scene.groups}


def _filename(rng: np.random.Generator, lang: Lang) -> str:
    number = int(rng.integers(10_000))
    styles = [f"IMG_{number:04}.jpg", f"DSC0{number:04}.JPG", f"photo-{number}.png"]
    if lang == "ko":
        styles.append(f"KakaoTalk_20190{1 + number % 9}1{number % 10}_{number:04}.jpg")
    return styles[int(rng.integers(len(styles)))]
