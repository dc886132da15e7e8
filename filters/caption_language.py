"""Language of the caption."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import CharClass, Codepoints
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

UNDETERMINED = "und"  # Source: ISO 639-2
# What the model may answer: the most used languages of the web, each far from the others.
# Unrestricted it calls short English captions Frisian or Wu. Source: measured on the labelled
# captions of the tests.
_MODEL_LANGUAGES = (
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it",
    "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi",
)  # fmt: skip
_KNOWN = frozenset({*_MODEL_LANGUAGES, "ko", "ja", "zh", UNDETERMINED})
# One letter of Hangul, kana or Han says about as much as this many of an alphabet, so that a
# Latin brand name does not make a Korean caption English.
_LETTER_WEIGHT = 3


@dataclass(frozen=True)
class CaptionLanguage(Filter):
    """Language of the caption, and whether it is one of the wanted `languages` (empty: any).

    The script decides first: Hangul is Korean, kana Japanese, Han Chinese, or Japanese when the
    page declares that. The rest goes to a naive Bayes model over byte n-grams, offline. A caption
    without letters, or one whose best language is less likely than `min_probability`, is `und`,
    which is allowed only when listed or when `languages` is empty.

    A declared page language is used for nothing else: many pages declare their template's.

    Source: Lui and Baldwin 2012, "langid.py", for the model (the py3langid library's). A language
    allow-list is how COYO-700M (cld3, English) and DataComp (arXiv 2304.14108, fastText or cld3)
    choose captions.
    """

    languages: tuple[str, ...] = ()
    min_probability: float = 0.2

    reads = ("caption", "page_lang")
    measures = (
        column("caption_lang", pa.string(), "ISO 639-1 code, or 'und'"),
        column(
            "caption_lang_confidence",
            pa.float32(),
            "0 to 1: the model's probability, or the weighted share of the script that decided",
        ),
        column("is_language_allowed", pa.int8(), "1: the language is one of those wanted"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.languages) - _KNOWN)
        if unknown:
            raise ValueError(
                f"languages: {', '.join(unknown)} not known; allowed: {', '.join(sorted(_KNOWN))}"
            )
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability = {self.min_probability} is not within 0 and 1")

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        captions, page_langs = batch.column("caption"), batch.column("page_lang")
        language, confidence = _by_script(captions, page_langs)
        for row in np.flatnonzero(language == ""):
            found, probability = _model().classify(captions[row].as_py())
            known = probability >= self.min_probability
            language[row] = found if known else UNDETERMINED
            confidence[row] = probability
        if self.languages:
            allowed = np.isin(language.astype(str), self.languages)
        else:
            allowed = np.ones(len(language), dtype=bool)
        return [
            pa.array(language, pa.string()),
            pa.array(confidence),
            pa.array(allowed.astype(np.int8)),
        ]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_language_allowed", low=1),)


def _by_script(
    captions: pa.Array, page_langs: pa.Array
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.float32]]:
    """Language and confidence of each row; the language is "" where the model has to decide."""
    text = Codepoints.of(captions)
    classes = text.classes()
    hangul, kana, han = (
        text.sums((classes & kind) > 0)
        for kind in (CharClass.HANGUL, CharClass.KANA, CharClass.HAN)
    )
    letters = text.sums((classes & CharClass.LETTER) > 0)
    cjk = hangul + kana + han
    weight = _LETTER_WEIGHT * cjk
    share = weight / np.maximum(weight + np.maximum(letters - cjk, 0), 1)
    declared = pc.utf8_lower(pc.fill_null(page_langs, ""))
    is_page_ja = pc.starts_with(declared, "ja").to_numpy(zero_copy_only=False)
    korean = hangul >= kana + han
    japanese = ~korean & ((kana > 0) | is_page_ja)
    by_script = np.where(korean, "ko", np.where(japanese, "ja", "zh"))
    language = np.where(share >= 0.5, by_script, np.where(letters > 0, "", UNDETERMINED))
    confidence = np.where(share >= 0.5, share, 0.0)
    return language.astype(object), confidence.astype(np.float32)


@cache
def _model() -> Any:
    """The model, loaded once per process: about a second and 100 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages(_MODEL_LANGUAGES)
    return model
