"""Which character encoding a page is in, and its text as UTF-8.

Order: byte order mark, HTTP header, `meta` within the first 1,024 bytes, detection. A declaration
that the bytes contradict is dropped for detection.
Source: WHATWG HTML, section 13.2.3.2 "Determining the character encoding"; labels: WHATWG Encoding.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from pipeline.core.utf8 import is_valid

PRESCAN_BYTES = 1024
_DETECT_BYTES = 1 << 16
# More than this share of undecodable bytes among the non-ASCII ones: the declaration lies. A few
# broken characters are usual in pages that are otherwise what they say (cut by byte, pasted ads).
_MAX_BROKEN_SHARE = 0.05

_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_META_CHARSET = re.compile(
    rb"<meta\b[^>]{0,300}?\bcharset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]+)", re.IGNORECASE
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python's codecs that decode what browsers decode under the label.
# Source: WHATWG Encoding, sections 4.2 (labels) and 10 to 13 (legacy multi-byte encodings).
_CODECS = {
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "big5": "big5hkscs",
}

# What every ISO-2022-JP text shifts to two-byte characters by; no text of another kind has it.
# Source: RFC 1468.
_JIS_SHIFT = b"\x1b$B"

_SCRIPTS = (("cp949", re.compile("[가-힣]"), 0.8), ("cp932", re.compile("[ぁ-ヿ]"), 0.3))


def codec_of(label: str | None) -> str | None:
    """The Python codec for a WHATWG encoding label; None when there is none."""
    if not label:
        return None
    name = map_encoding_to_html5(label.strip().lower(), fallback_utf8=False)
    if not name:
        return None
    try:
        name = codecs.lookup(name).name
        return codecs.lookup(_CODECS.get(name, name)).name
    except LookupError:
        return None


def to_utf8(body: bytes, content_type: str | None) -> bytes:
    """The page as UTF-8, without a byte order mark; what cannot be decoded becomes U+FFFD."""
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return _recode(body[len(mark) :], codec)
    declared = declared_codec(body, content_type)
    # Most of the web: one check, and the page is read as it is. Text in another encoding is valid
    # UTF-8 by the rarest chance alone, whatever is declared, but for encodings of 7-bit bytes.
    if not (declared or "").startswith(("utf-16", "iso2022")) and is_valid(body):
        # A search for one byte costs next to nothing, one for three does.
        is_jis = _JIS_SHIFT[:1] in body and _JIS_SHIFT in body
        return _recode(body, "iso2022_jp") if is_jis else body
    if declared is not None and _fits(body, declared):
        return _recode(body, declared)
    detected = codec_of(detect_encoding(body, max_len=_DETECT_BYTES)) or "utf-8"
    return _recode(body, detected if _fits(body, detected) else _by_script(body) or detected)


def _by_script(body: bytes) -> str | None:
    """A codec under which nearly all is in one script: for what the detector gives up on."""
    sample = body[:_DETECT_BYTES]
    for codec, script, share in _SCRIPTS:
        text = sample.decode(codec, "replace")
        high = len(text) - len(text.encode("ascii", "ignore"))
        if len(script.findall(text)) > share * high:
            return codec
    return None


def declared_codec(body: bytes, content_type: str | None) -> str | None:
    """The codec that header or `meta` declares; None when neither does, or by no known label."""
    if content_type:
        found = _HEADER_CHARSET.search(content_type)
        codec = codec_of(found[1]) if found else None
        if codec:
            return codec
    in_meta = _META_CHARSET.search(body[:PRESCAN_BYTES])
    codec = codec_of(in_meta[1].decode("ascii")) if in_meta else None
    # A page that can be prescanned is not UTF-16, whatever it says.
    return "utf-8" if codec and codec.startswith("utf-16") else codec


def _fits(body: bytes, codec: str) -> bool:
    sample = body[:_DETECT_BYTES]
    if codec.startswith("utf-16"):
        return sample.count(b"\0") > len(sample) // 10
    high = len(sample) - len(sample.translate(None, _HIGH_BYTES))
    broken = sample.decode(codec, "replace").count("\ufffd")
    return broken <= max(1, high * _MAX_BROKEN_SHARE)


_HIGH_BYTES = bytes(range(0x80, 0x100))


def _recode(body: bytes, codec: str) -> bytes:
    return body.decode(codec, "replace").encode("utf-8", "replace")
