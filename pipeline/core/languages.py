"""The languages that captions are sorted into. Light to import, unlike `language`."""

from pipeline.core import scripts

UNDETERMINED = "und"  # Source: ISO 639-2

# What the model may answer, by script, and the share of the web's pages in each language, in
# percent. A share is what is known of a caption before it is read, and decides where the model
# cannot tell: two words that are good English and good Norwegian are English.
# Source: Common Crawl, statistics of CC-MAIN-2018-39, languages by CLD2.
SHARES = {
    scripts.LATIN: {
        "ca": 0.18, "cs": 1.05, "da": 0.39, "de": 5.14, "en": 45.06, "es": 4.37, "et": 0.11,
        "fi": 0.37, "fr": 4.61, "hr": 0.14, "hu": 0.51, "id": 0.74, "it": 2.07, "lt": 0.14,
        "lv": 0.08, "nl": 1.44, "no": 0.30, "pl": 1.69, "pt": 2.03, "ro": 0.54, "sk": 0.24,
        "sl": 0.10, "sv": 0.74, "tr": 0.95, "vi": 0.75,
    },
    scripts.CYRILLIC: {"be": 0.015, "bg": 0.30, "kk": 0.013, "ru": 9.20, "sr": 0.16, "uk": 0.40},
    scripts.ARABIC: {"ar": 0.83, "fa": 0.65, "ur": 0.03},
    scripts.DEVANAGARI: {"hi": 0.11, "mr": 0.013, "ne": 0.013},
}  # fmt: skip
# The language of a script, where it is one; those of `scripts.SINGLE_LANGUAGES` besides.
BY_SCRIPT = {scripts.HANGUL: "ko", scripts.KANA: "ja", scripts.HAN: "zh"}

# All of them, ISO 639-1.
LANGUAGES = tuple(
    sorted(
        {
            *(code for group in SHARES.values() for code in group),
            *BY_SCRIPT.values(),
            *scripts.SINGLE_LANGUAGES,
        }
    )
)
