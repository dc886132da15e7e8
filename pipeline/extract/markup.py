"""HTML as bytes: where tags, comments and raw text end, and what attributes a tag has.

Source: WHATWG HTML, section 13.2.5 "Tokenization". All functions take positions in `body` and give
positions; -1 says that the page ends first.
"""

import numpy as np

from pipeline.core.jit import kernel
from pipeline.core.strings import Bytes
from pipeline.core.words import find_byte, repeated
from pipeline.extract.marks import Rows
from pipeline.extract.names import hash_name, number_of
from pipeline.extract.srcset import is_white
from pipeline.extract.vocabulary import ATTRIBUTES

_ATTRIBUTE_HASHES, _ATTRIBUTE_NUMBERS = ATTRIBUTES
_LTS, _GTS, _QUOTES, _APOSTROPHES = map(repeated, b"<>\"'")
_GT, _SLASH, _EQUALS, _QUOTE, _APOSTROPHE, _LT, _DASH, _BANG = 62, 47, 61, 34, 39, 60, 45, 33


@kernel
def is_letter(byte: int) -> bool:
    """True for A-Z and a-z."""
    return 97 <= (byte | 32) <= 122


@kernel
def find_lt(body: Bytes, at: int, stop: int) -> int:
    """Where the next "<" at or behind `at` stands; `stop` when there is none."""
    return find_byte(body, at, stop, _LTS)


@kernel
def name_end(body: Bytes, at: int, stop: int) -> int:
    """Where the tag name that begins at `at` ends."""
    while at < stop and not (is_white(body[at]) or body[at] == _SLASH or body[at] == _GT):
        at += 1
    return at


@kernel
def read_attributes(
    body: Bytes, at: int, stop: int, is_wanted: bool, spans: Rows
) -> tuple[int, bool]:
    """Pass over a tag's attributes: where the tag ends (or -1), and whether it closes itself.

    spans: int64 [attributes, 2], where is_wanted puts the values of known ones, -1 for absent ones;
    of equal names the first counts.
    """
    if is_wanted:
        spans[:] = -1
    slash = -1
    while at < stop:
        byte = body[at]
        if is_white(byte):
            at += 1
            continue
        if byte == _SLASH:
            slash = at
            at += 1
            continue
        if byte == _GT:
            return at + 1, slash == at - 1
        name = at
        at += 1
        while at < stop:
            byte = body[at]
            if byte == _EQUALS or byte == _GT or byte == _SLASH or is_white(byte):
                break
            at += 1
        name_stop = at
        while at < stop and is_white(body[at]):
            at += 1
        value, value_stop = at, at
        if at < stop and body[at] == _EQUALS:
            at += 1
            while at < stop and is_white(body[at]):
                at += 1
            if at >= stop:
                return -1, False
            quote = body[at]
            value = at
            if quote == _QUOTE or quote == _APOSTROPHE:
                at += 1
                value = at
                at = find_byte(body, at, stop, _QUOTES if quote == _QUOTE else _APOSTROPHES)
                if at >= stop:
                    return -1, False
                value_stop = at
                at += 1
            else:
                while at < stop and body[at] != _GT and not is_white(body[at]):
                    at += 1
                value_stop = at
        if is_wanted:
            number = number_of(
                hash_name(body, name, name_stop), _ATTRIBUTE_HASHES, _ATTRIBUTE_NUMBERS
            )
            if number > 0 and spans[number, 0] < 0:
                spans[number, 0] = value
                spans[number, 1] = value_stop
    return -1, False


@kernel
def skip_declaration(body: Bytes, at: int, stop: int, is_foreign: bool) -> int:
    """Pass over what "<!" at `at` begins: a comment, a doctype, CDATA inside `svg`."""
    i = at + 2
    if i + 1 < stop and body[i] == _DASH and body[i + 1] == _DASH:
        i += 2
        if i < stop and body[i] == _GT:
            return i + 1
        if i + 1 < stop and body[i] == _DASH and body[i + 1] == _GT:
            return i + 2
        first = i
        while i < stop:
            i = find_byte(body, i, stop, _GTS)
            end = i - 1 if i > first and body[i - 1] == _BANG else i
            is_long = i < stop and end >= first + 2
            if is_long and body[end - 1] == _DASH and body[end - 2] == _DASH:
                return i + 1
            i += 1
        return -1
    if is_foreign and i < stop and body[i] == 91:  # "<![CDATA["
        while i + 2 < stop:
            if body[i] == 93 and body[i + 1] == 93 and body[i + 2] == _GT:
                return i + 3
            i += 1
        return -1
    return skip_bogus(body, i, stop)


@kernel
def skip_bogus(body: Bytes, at: int, stop: int) -> int:
    """Pass over a bogus comment: to the next ">"."""
    at = find_byte(body, at, stop, _GTS)
    return at + 1 if at < stop else -1


@kernel
def _is_tag(body: Bytes, at: int, stop: int, name: Bytes) -> bool:
    """True when body[at:] goes on with a lower-case tag name and something that ends it."""
    if at + len(name) >= stop:
        return False
    for i in range(len(name)):
        byte = body[at + i]
        if 65 <= byte <= 90:
            byte += np.uint8(32)
        if byte != name[i]:
            return False
    after = body[at + len(name)]
    return is_white(after) or after == _SLASH or after == _GT


@kernel
def raw_text_end(body: Bytes, at: int, stop: int, name: Bytes) -> int:
    """Where the end tag of an element with raw text begins; -1 when it is never closed."""
    at = find_lt(body, at, stop)
    while at + 1 < stop:
        if body[at + 1] == _SLASH and _is_tag(body, at + 2, stop, name):
            return at
        at = find_lt(body, at + 1, stop)
    return -1


_SCRIPT = np.frombuffer(b"script", np.uint8).copy()


@kernel
def script_end(body: Bytes, at: int, stop: int) -> int:
    """Where the end tag of a script begins; "<!-- <script>" hides one. -1 when never closed."""
    is_escaped, is_double = False, False
    while at + 1 < stop:
        if not is_escaped:  # no dash matters
            at = find_lt(body, at, stop)
            if at + 1 >= stop:
                break
        byte = body[at]
        if byte == _LT:
            if body[at + 1] == _SLASH:
                if _is_tag(body, at + 2, stop, _SCRIPT):
                    if not is_double:
                        return at
                    is_double = False
            elif body[at + 1] == _BANG:
                if at + 3 < stop and body[at + 2] == _DASH and body[at + 3] == _DASH:
                    is_escaped = True
                    at += 1  # "<!-->" closes at once: its dashes count for both
            elif is_escaped and _is_tag(body, at + 1, stop, _SCRIPT):
                is_double = True
        elif byte == _DASH and at + 2 < stop and body[at + 1] == _DASH and body[at + 2] == _GT:
            is_escaped, is_double = False, False
        at += 1
    return -1
