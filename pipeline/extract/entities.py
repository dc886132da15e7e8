"""Character references in HTML text and attributes, resolved while bytes are copied.

Source: WHATWG HTML, section 13.2.5.72 "Character reference state" and the ones after it; the names
are Python's `html.entities.html5`, the list of section 13.5.
"""

from html.entities import html5

import numpy as np

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.words import has_byte, load_word, repeated, store_word, trailing_zeros
from pipeline.extract.names import hash_exact, number_of, table

_AMPERSANDS = repeated(ord("&"))
_LONGEST_NAME = max(map(len, html5))
_LONGEST_LEGACY = max(len(name) for name in html5 if not name.endswith(";"))
# Numeric references 0x80 to 0x9F mean what Windows-1252 has there. Source: the same, 13.2.5.80.
_WINDOWS_1252 = np.array(
    [ord(bytes([b]).decode("cp1252", "replace")) for b in range(0x80, 0xA0)], np.int64
)
_WINDOWS_1252[_WINDOWS_1252 == 0xFFFD] = np.flatnonzero(_WINDOWS_1252 == 0xFFFD) + 0x80


# Names are case-sensitive (`&Auml;` is not `&auml;`); numbers are rows of _TEXTS, from 1 on.
_HASHES, _NUMBERS = table({name: row for row, name in enumerate(html5, 1)})
_TEXTS = np.zeros((len(html5) + 1, 8), np.uint8)
_LENGTHS = np.zeros(len(html5) + 1, np.uint8)
for _row, _text in enumerate(html5.values(), 1):
    _LENGTHS[_row] = len(_text.encode())
    _TEXTS[_row, : _LENGTHS[_row]] = np.frombuffer(_text.encode(), np.uint8)


@kernel
def put_codepoint(code: int, out: Bytes, at: int) -> int:
    """Write a code point as UTF-8 at out[at:]; where it ends. Surrogates become U+FFFD."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | (code >> 6)
        out[at + 1] = 0x80 | (code & 0x3F)
        return at + 2
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        code = 0xFFFD
    if code < 0x10000:
        out[at] = 0xE0 | (code >> 12)
        out[at + 1] = 0x80 | ((code >> 6) & 0x3F)
        out[at + 2] = 0x80 | (code & 0x3F)
        return at + 3
    out[at] = 0xF0 | (code >> 18)
    out[at + 1] = 0x80 | ((code >> 12) & 0x3F)
    out[at + 2] = 0x80 | ((code >> 6) & 0x3F)
    out[at + 3] = 0x80 | (code & 0x3F)
    return at + 4


@kernel
def _is_alphanumeric(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@kernel
def _numeric(data: Bytes, start: int, stop: int, out: Bytes, at: int) -> tuple[int, int]:
    """A reference whose "&#" begins at `start`."""
    i = start + 2
    is_hex = i < stop and (data[i] | 32) == 120
    if is_hex:
        i += 1
    first, code = i, 0
    while i < stop:
        byte = signed(data[i])
        if 48 <= byte <= 57:
            digit = byte - 48
        elif is_hex and 97 <= (byte | 32) <= 102:
            digit = (byte | 32) - 87
        else:
            break
        code = min(code * (16 if is_hex else 10) + digit, 0x110000)
        i += 1
    if i == first:  # "&#" and no digit: text
        out[at] = 38
        return start + 1, at + 1
    if i < stop and data[i] == 59:
        i += 1
    if 0x80 <= code < 0xA0:
        code = _WINDOWS_1252[code - 0x80]
    return i, put_codepoint(0xFFFD if code == 0 else code, out, at)


@kernel
def reference(
    data: Bytes, start: int, stop: int, is_attribute: bool, out: Bytes, at: int
) -> tuple[int, int]:
    """Resolve what the "&" at data[start] begins and write it at out[at:].

    Gives where the source goes on and where the output does. At most 8 bytes are written; never
    more than twice the bytes read.
    """
    if start + 1 < stop and data[start + 1] == 35:
        return _numeric(data, start, stop, out, at)
    found, found_stop = 0, start
    i = start + 1
    end = min(stop, start + 1 + _LONGEST_NAME)
    while i < end:
        byte = signed(data[i])
        is_last = byte == 59
        if not is_last and not _is_alphanumeric(byte):
            break
        i += 1
        # Names without a semicolon are short; one that goes on may still be longer.
        if is_last or i - start - 1 <= _LONGEST_LEGACY:
            entry = number_of(hash_exact(data, start + 1, i), _HASHES, _NUMBERS)
            if entry > 0:
                found, found_stop = entry, i
        if is_last:
            break
    if found > 0 and is_attribute and data[found_stop - 1] != 59 and found_stop < stop:
        following = signed(data[found_stop])
        if following == 61 or _is_alphanumeric(following):
            found = 0  # "?a=1&copy=2" in a URL
    if found == 0:
        out[at] = 38
        return start + 1, at + 1
    for j in range(_LENGTHS[found]):
        out[at + j] = _TEXTS[found, j]
    return found_stop, at + signed(_LENGTHS[found])


@kernel
def resolve(data: Bytes, start: int, stop: int, is_attribute: bool, out: Bytes, at: int) -> int:
    """Copy data[start:stop] to out[at:] with character references resolved; where it ends.

    out: has room for twice the bytes and 8 more.
    """
    i = start
    while i < stop:
        if i + 8 <= stop:
            word = load_word(data, i)
            hits = has_byte(word, _AMPERSANDS)
            store_word(out, at, word)
            if not hits:
                i += 8
                at += 8
                continue
            plain = trailing_zeros(hits) >> 3
            i += plain
            at += plain
        if data[i] == 38:
            i, at = reference(data, i, stop, is_attribute, out, at)
        else:
            out[at] = data[i]
            at += 1
            i += 1
    return at
