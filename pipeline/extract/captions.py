"""Caption normalisation: the one form that a caption is compared, counted and stored in."""

import html
import re
import unicodedata

# Longer texts are pages pasted into an attribute; they are cut, so that a row stays small.
MAX_CAPTION_CHARS = 10_000

# Only a text that matches can be changed by the slow path, save for Unicode composition.
_SUSPECT = re.compile(r"[^\S ]|  |^ | $|&[#a-zA-Z]|[^\x20-\uffff]|[\x7f-\xa0\xad]")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
# Invisible and of no meaning in a caption. Kept: U+200C and U+200D, which join and part letters in
# Persian and Indic scripts and inside emoji.
# Source: Unicode Standard 16.0, section 23.2 (layout controls) and 23.8 (U+FEFF).
_DELETED = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
# C0 and C1 controls but white space, lone surrogates, U+FFFE/U+FFFF.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"\s+")


def normalise(text: str) -> str:
    """A caption in Unicode NFC, entities resolved once more, white space collapsed and trimmed,
    without control and zero-width characters; "" when nothing is left.

    Pages escape twice (`&amp;amp;`), so entities that the parser left are resolved once.
    Idempotent but for a text that was escaped three times or more.
    """
    if text.isascii() and not _SUSPECT.search(text):
        return text[:MAX_CAPTION_CHARS].rstrip() if len(text) > MAX_CAPTION_CHARS else text
    text = text[: 4 * MAX_CAPTION_CHARS]
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    if not text.isascii():
        text = _DELETED.sub("", text)
    text = _CONTROL.sub("", text)
    text = _SPACES.sub(" ", text).strip()
    text = unicodedata.normalize("NFC", text)
    return text[:MAX_CAPTION_CHARS].rstrip()
