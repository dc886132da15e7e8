"""Image links of a page from its WAT record: one walk over the JSON that decodes what is needed.

Source of the layout: Common Crawl's WAT extractor (ia-web-commons, ExtractingParseObserver):
`IMG@/src` links have url, alt and title; there is no srcset, lazy attribute or figcaption. Response
headers and metas are there, with og:image and its alt among them.
"""

from typing import NamedTuple

import numpy as np

from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.reasons import CaptionKind, RecordReason
from pipeline.core.strings import Bytes
from pipeline.core.words import (
    VECTOR_BYTES,
    equal_bytes,
    find_pair,
    has_byte,
    load_word,
    repeated,
    store_word,
    trailing_zeros,
)
from pipeline.extract import vocabulary as v
from pipeline.extract.entities import put_codepoint
from pipeline.extract.head import is_blank, meta_image
from pipeline.extract.marks import (
    BASE_START,
    BASE_STOP,
    BODY_START,
    BODY_STOP,
    HEAP,
    LANG_START,
    LANG_STOP,
    LINKS,
    OVER_CAP,
    PAGES,
    SAMPLE_START,
    SAMPLE_STOP,
    STATE_SIZE,
    STATUS,
    Rows,
    add_caption,
    add_link,
    add_meta,
    copy_state,
    is_valid_page,
    new_page,
)
from pipeline.extract.names import hash_name, hash_of, number_of, table
from pipeline.extract.open_elements import OPEN_SIZE, open_none
from pipeline.extract.sources import is_data_url

_ALT, _TITLE = list(CaptionKind).index(CaptionKind.ALT), list(CaptionKind).index(CaptionKind.TITLE)
_REASONS = (
    None,
    RecordReason.NOT_A_PAGE,
    RecordReason.HTTP_STATUS,
    RecordReason.NOT_HTML,
    RecordReason.UNPARSABLE,
)
PAGE, NOT_A_PAGE, _HTTP_STATUS, _NOT_HTML, _UNPARSABLE = range(5)

# Where in the JSON a value is; _OTHER is anywhere that does not matter.
(
    _OTHER, _ROOT, _ENVELOPE, _PAYLOAD, _RESPONSE, _MESSAGE, _HEADERS, _HEADER, _HTML, _HEAD,
    _METAS, _META, _LINKS, _LINK,
) = range(14)  # fmt: skip
(
    _K_ENVELOPE, _K_PAYLOAD, _K_RESPONSE, _K_MESSAGE, _K_HEADERS, _K_HTML, _K_HEAD, _K_METAS,
    _K_LINKS, _K_BASE, _K_TITLE, _K_PATH, _K_URL, _K_ALT, _K_NAME, _K_PROPERTY, _K_HTTP_EQUIV,
    _K_CONTENT, _K_STATUS, _K_REASON, _K_TEXT,
) = range(1, 22)  # fmt: skip
_KEY_HASHES, _KEY_NUMBERS = table(
    {
        "envelope": _K_ENVELOPE,
        "payload-metadata": _K_PAYLOAD,
        "http-response-metadata": _K_RESPONSE,
        "response-message": _K_MESSAGE,
        "headers": _K_HEADERS,
        "html-metadata": _K_HTML,
        "head": _K_HEAD,
        "metas": _K_METAS,
        "links": _K_LINKS,
        "base": _K_BASE,
        "title": _K_TITLE,
        "path": _K_PATH,
        "url": _K_URL,
        "alt": _K_ALT,
        "name": _K_NAME,
        "property": _K_PROPERTY,
        "http-equiv": _K_HTTP_EQUIV,
        "content": _K_CONTENT,
        "status": _K_STATUS,
        "reason": _K_REASON,
        "text": _K_TEXT,
    }
)
_META_HASHES, _META_NUMBERS = v.METAS
_HEADER_HASHES, _HEADER_NUMBERS = v.HEADERS
_IMG_SRC = hash_of("img@/src")
_MAX_DEPTH = 64
# Of titles, descriptions and texts of links, which say more than a page's running text does.
_SAMPLE_BYTES = 256
_MAX_SAMPLED_TEXT_BYTES = 200
_QUOTE, _BACKSLASH, _G, _AT = b'"\\G@'
_BACKSLASHES = repeated(_BACKSLASH)
# What stands before values of an image, eight bytes of it.
_URL_KEY, _ALT_KEY, _TITLE_KEY = (
    np.frombuffer(key, np.uint64)[0] for key in (b',"url":"', b',"alt":"', b',"title"')
)


class Work(NamedTuple):
    """What reading needs to write to: the state before a page, what is open, where in the JSON the
    walk is, and the fields of an object."""

    before: Rows
    now: Rows
    stack: Rows
    fields: Rows


def reason_of(status: int) -> RecordReason | None:
    """Why a record gave no page, from its STATUS; None for PAGE."""
    return _REASONS[status]


@kernel
def _hex4(body: Bytes, at: int, stop: int) -> int:
    """The number of four hexadecimal digits; -1 when they are none."""
    if at + 4 > stop:
        return -1
    value = 0
    for i in range(at, at + 4):
        byte = signed(body[i])
        if 48 <= byte <= 57:
            value = value * 16 + byte - 48
        elif 97 <= (byte | 32) <= 102:
            value = value * 16 + (byte | 32) - 87
        else:
            return -1
    return value


@kernel
def _unescape(body: Bytes, start: int, stop: int, out: Bytes, at: int) -> int:
    """Copy the inside of a JSON string to out[at:] without its escapes; where it ends."""
    i = start
    while i < stop:
        # Most texts have no escape: eight bytes at once.
        while i + 8 <= stop:
            word = load_word(body, i)
            if has_byte(word, _BACKSLASHES):
                break
            store_word(out, at, word)
            at += 8
            i += 8
        if i >= stop:
            break
        byte = signed(body[i])
        if byte != _BACKSLASH or i + 1 >= stop:
            out[at] = byte
            at += 1
            i += 1
            continue
        byte = signed(body[i + 1])
        i += 2
        if byte == 117:
            code = _hex4(body, i, stop)
            if code < 0:
                code = 0xFFFD
            else:
                i += 4
                if 0xD800 <= code < 0xDC00 and i + 1 < stop and body[i] == _BACKSLASH:
                    low = _hex4(body, i + 2, stop) if body[i + 1] == 117 else -1
                    if 0xDC00 <= low < 0xE000:
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                        i += 6
            at = put_codepoint(code, out, at)
            continue
        if byte == 110:
            byte = 10
        elif byte == 116:
            byte = 9
        elif byte == 114:
            byte = 13
        elif byte == 98:
            byte = 8
        elif byte == 102:
            byte = 12
        out[at] = byte
        at += 1
    return at


@kernel
def _string_end(body: Bytes, at: int, stop: int) -> int:
    """Where the string whose inside begins at `at` has its closing quote; -1 for nowhere."""
    while at < stop:
        while at + VECTOR_BYTES <= stop:
            hits = equal_bytes(body, at, _QUOTE) | equal_bytes(body, at, _BACKSLASH)
            if hits:
                at += trailing_zeros(hits)
                break
            at += VECTOR_BYTES
        while at < stop and body[at] != _QUOTE and body[at] != _BACKSLASH:
            at += 1
        if at < stop and body[at] == _QUOTE:
            return at
        at += 2
    return -1


@kernel
def _object_end(body: Bytes, at: int, stop: int) -> int:
    """Where the "}" of the object that `at` is in stands; -1 for nowhere."""
    depth = 0
    while at < stop:
        byte = body[at]
        if byte == _QUOTE:
            at = _string_end(body, at + 1, stop)
            if at < 0:
                return -1
        elif byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                return at
            depth -= 1
        at += 1
    return -1


@kernel
def _inside(context: int, key: int) -> int:
    """Where an object or array is that is a value of `key` at `context`."""
    if context == _ROOT and key == _K_ENVELOPE:
        return _ENVELOPE
    if context == _ENVELOPE and key == _K_PAYLOAD:
        return _PAYLOAD
    if context == _PAYLOAD and key == _K_RESPONSE:
        return _RESPONSE
    if context == _RESPONSE:
        if key == _K_MESSAGE:
            return _MESSAGE
        if key == _K_HEADERS:
            return _HEADERS
        if key == _K_HTML:
            return _HTML
    if context == _HEADERS:
        return _HEADER
    if context == _HTML:
        if key == _K_HEAD:
            return _HEAD
        if key == _K_LINKS:
            return _LINKS
    if context == _HEAD and key == _K_METAS:
        return _METAS
    if context == _METAS:
        return _META
    if context == _LINKS:
        return _LINK
    return _OTHER


@kernel
def _sample(body: Bytes, start: int, stop: int, scratch: Bytes, at: int) -> int:
    """Add a text to the sample that tells the page's language."""
    if at >= _SAMPLE_BYTES or start >= stop:
        return at
    # A text is cut between characters, and not inside an escape.
    if stop - start > _MAX_SAMPLED_TEXT_BYTES:
        stop = start + _MAX_SAMPLED_TEXT_BYTES
        for i in range(start, stop):
            if body[i] == _BACKSLASH and i + 12 > stop:
                stop = i
                break
        while stop > start and 0x80 <= body[stop] < 0xC0:
            stop -= 1
    at = _unescape(body, start, stop, scratch, at)
    scratch[at] = 32
    return at + 1


@kernel
def _add_image(
    body: Bytes,
    fields: Rows,
    page: int,
    max_links: int,
    first_link: int,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
) -> None:
    if state[LINKS] - first_link >= max_links:
        state[OVER_CAP] += 1
        return
    start, stop = fields[_K_URL, 0], fields[_K_URL, 1]
    if start >= 0 and is_data_url(body, start, stop):
        stop = start + 5
    at = state[HEAP]
    if start >= 0:
        state[HEAP] = _unescape(body, start, stop, heap, at)
    link = add_link(page, at, state[HEAP], 0, links, state)
    for kind, key in ((_ALT, _K_ALT), (_TITLE, _K_TITLE)):
        start, stop = fields[key, 0], fields[key, 1]
        if start >= 0 and not is_blank(body, start, stop):
            at = state[HEAP]
            state[HEAP] = _unescape(body, start, stop, heap, at)
            add_caption(link, kind, at, state[HEAP], captions, state)


@kernel
def _add_meta(
    body: Bytes,
    fields: Rows,
    page: int,
    max_links: int,
    first_link: int,
    heap: Bytes,
    scratch: Bytes,
    sample: int,
    links: Rows,
    captions: Rows,
    metas: Rows,
    state: Rows,
    now: Rows,
) -> int:
    """Judge one meta of the head; where the sample ends."""
    start, stop = fields[_K_CONTENT, 0], fields[_K_CONTENT, 1]
    if start < 0:
        return sample
    kind = 0
    for key in (_K_NAME, _K_PROPERTY, _K_HTTP_EQUIV):
        if fields[key, 0] >= 0 and kind == 0:
            value = hash_name(body, fields[key, 0], fields[key, 1])
            kind = number_of(value, _META_HASHES, _META_NUMBERS)
    if kind == v.DESCRIPTION:
        return _sample(body, start, stop, scratch, sample)
    if kind == 0:
        return sample
    at = state[HEAP]
    state[HEAP] = _unescape(body, start, stop, heap, at)
    if kind == v.LANGUAGE:
        if state[LANG_START] < 0:
            state[LANG_START], state[LANG_STOP] = at, state[HEAP]
    elif kind <= v.TWITTER_IMAGE_ALT:
        if not is_blank(heap, at, state[HEAP]):
            meta_image(
                kind, page, at, state[HEAP], max_links, first_link, links, captions, state, now
            )
    else:
        add_meta(page, kind, at, state[HEAP], metas, state)
    return sample


@kernel
def _is_ok(body: Bytes, fields: Rows) -> bool:
    """True for status 200. A doubled version ("HTTP/1.1 HTTP/1.1 200 OK") leaves the code in the
    reason and 0 as the status."""
    for key in (_K_STATUS, _K_REASON):
        start, stop = fields[key, 0], fields[key, 1]
        is_long = start >= 0 and stop - start >= 3
        if is_long and body[start] == 50 and body[start + 1] == 48 and body[start + 2] == 48:
            return key == _K_REASON or stop - start == 3
        if key == _K_STATUS and not (stop - start == 1 and body[start] == 48):
            return False
    return False


@kernel
def _flat_object(body: Bytes, at: int, stop: int, fields: Rows) -> int:
    """Note the strings and numbers of the object whose inside begins at `at`, by known key: where
    its "}" stands, -1 for nowhere. fields: int64 [keys, 2], spans; start -1 for what is absent."""
    fields[:] = -1
    key = -1
    while at < stop:
        byte = body[at]
        if byte == _QUOTE:
            end = _string_end(body, at + 1, stop)
            if end < 0:
                return -1
            if key < 0:
                key = number_of(hash_name(body, at + 1, end), _KEY_HASHES, _KEY_NUMBERS)
            else:
                fields[key, 0], fields[key, 1] = at + 1, end
                key = -1
            at = end
        elif byte == 45 or 48 <= byte <= 57:
            start = at
            while at + 1 < stop and 48 <= body[at + 1] <= 57:
                at += 1
            if key >= 0:
                fields[key, 0], fields[key, 1] = start, at + 1
        elif byte == 44:
            key = -1
        elif byte == 123 or byte == 91:
            at = _object_end(body, at + 1, stop)
            if at < 0:
                return -1
        elif byte == 125:
            return at
        at += 1
    return -1


@kernel
def _image_object(body: Bytes, at: int, stop: int, fields: Rows) -> int:
    """`_flat_object` of an image's link, whose inside begins at `at` with its path, as long as only
    URL, alt and title follow; all others are read there."""
    first = at
    fields[:] = -1
    fields[_K_PATH, 0], fields[_K_PATH, 1] = at + 8, at + 16
    at += 17
    while at + 16 < stop and body[at] == 44:
        word = load_word(body, at)
        if word == _URL_KEY:
            key, at = _K_URL, at + 8
        elif word == _ALT_KEY:
            key, at = _K_ALT, at + 8
        elif word == _TITLE_KEY and body[at + 8] == 58 and body[at + 9] == _QUOTE:
            key, at = _K_TITLE, at + 10
        else:
            break
        end = _string_end(body, at, stop)
        if end < 0:
            return -1
        fields[key, 0], fields[key, 1] = at, end
        at = end + 1
    if at < stop and body[at] == 125:
        return at
    return _flat_object(body, first, stop, fields)


@kernel
def _next_image(body: Bytes, at: int, stop: int) -> int:
    """Where the next image's link begins in an array of links that begin with their path: -1 when
    there is none, -2 when one does not begin so.

    In JSON a quote inside a string is escaped, so that what is looked for stands in no string.
    """
    while at < stop:
        at = find_pair(body, at, stop, _G, _AT) + 1
        if at + 5 < stop and at >= 12 and body[at - 2] == 77:
            is_image = body[at - 3] == 73 and body[at - 4] == _QUOTE and body[at + 1] == 47
            is_source = body[at + 2] == 115 and body[at + 3] == 114 and body[at + 4] == 99
            if is_image and is_source and body[at + 5] == _QUOTE:
                return at - 12 if _is_path(body, at - 12) else -2
    return -1


@kernel
def _is_path(body: Bytes, at: int) -> bool:
    """True when body[at:] is `{"path":"`."""
    is_path: bool = (
        at + 7 < len(body)
        and body[at] == 123
        and body[at + 1] == _QUOTE
        and body[at + 2] == 112
        and body[at + 3] == 97
        and body[at + 4] == 116
        and body[at + 5] == 104
        and body[at + 6] == _QUOTE
        and body[at + 7] == 58
    )
    return is_path


@kernel
def _ends_well(body: Bytes, stop: int) -> bool:
    """True when the last thing is a closed object."""
    while stop > 0 and (body[stop - 1] <= 32):
        stop -= 1
    return stop > 0 and signed(body[stop - 1]) == 125


@kernel
def _is_other_link(body: Bytes, at: int, stop: int) -> bool:
    """True when the link whose inside begins at `at` says first that it is none of an image."""
    if at + 18 > stop or body[at] != _QUOTE or body[at + 7] != _QUOTE:
        return False
    is_path = body[at + 1] == 112 and body[at + 2] == 97 and body[at + 3] == 116
    is_image = body[at + 8] == 73 and body[at + 9] == 77 and body[at + 10] == 71
    return is_path and body[at + 4] == 104 and not is_image


@kernel
def _read(
    body: Bytes,
    page: int,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    state: Rows,
    work: Work,
) -> None:
    _, now, stack, fields = work
    new_page(state)
    open_none(now)
    first_link = state[LINKS]
    stack[0] = _OTHER
    # is_regular: links begin with their path, until one does not. is_seen: the rest of the record
    # need not be looked at.
    depth, key, header, sample = 0, 0, 0, 0
    is_key, has_message, has_headers, has_html, has_head = False, False, False, False, False
    is_regular, is_seen = True, False
    state[STATUS] = _UNPARSABLE
    at, stop = 0, len(body)
    while at < stop:
        byte = body[at]
        context = stack[depth]
        if byte == _QUOTE:
            end = _string_end(body, at + 1, stop)
            if end < 0:
                return
            if is_key:
                value = hash_name(body, at + 1, end)
                if context == _HEADERS:
                    header = number_of(value, _HEADER_HASHES, _HEADER_NUMBERS)
                else:
                    key = number_of(value, _KEY_HASHES, _KEY_NUMBERS)
                is_key = False
            elif context == _HEADERS or context == _HEADER:
                if header > 0:
                    first = state[HEAP]
                    state[HEAP] = _unescape(body, at + 1, end, heap, first)
                    add_meta(page, header, first, state[HEAP], metas, state)
            elif context == _HEAD:
                if key == _K_BASE and state[BASE_START] < 0:
                    state[BASE_START] = state[HEAP]
                    state[HEAP] = _unescape(body, at + 1, end, heap, state[HEAP])
                    state[BASE_STOP] = state[HEAP]
                elif key == _K_TITLE:
                    sample = _sample(body, at + 1, end, scratch, sample)
            at = end
        elif byte == 123 or byte == 91:
            inner = _ROOT if depth == 0 else _inside(context, key)
            is_image = False  # seen by its path
            if inner == _LINK and sample >= _SAMPLE_BYTES and is_regular and has_head:
                # All else is known by now: only images matter of what follows.
                ahead = _next_image(body, at, stop) if _is_path(body, at) else -2
                is_regular = has_message and has_headers and ahead != -2
                if is_regular and ahead == -1:
                    is_seen = _ends_well(body, stop)
                    break
                if is_regular:
                    at, is_image = ahead, True
            if inner == _OTHER or (
                inner == _LINK and sample >= _SAMPLE_BYTES and _is_other_link(body, at + 1, stop)
            ):
                at = _object_end(body, at + 1, stop)
            elif inner == _LINK:
                if is_image:
                    at = _image_object(body, at + 1, stop, fields)
                else:
                    at = _flat_object(body, at + 1, stop, fields)
                start, end = fields[_K_PATH, 0], fields[_K_PATH, 1]
                if end - start == 8 and hash_name(body, start, end) == _IMG_SRC:
                    _add_image(
                        body, fields, page, max_links, first_link, heap, links, captions, state
                    )
                elif fields[_K_TEXT, 0] >= 0:
                    sample = _sample(body, fields[_K_TEXT, 0], fields[_K_TEXT, 1], scratch, sample)
            elif inner == _META:
                at = _flat_object(body, at + 1, stop, fields)
                sample = _add_meta(
                    body, fields, page, max_links, first_link, heap, scratch, sample, links,
                    captions, metas, state, now,
                )  # fmt: skip
            elif inner == _MESSAGE:
                has_message = True
                at = _flat_object(body, at + 1, stop, fields)
                if not _is_ok(body, fields):
                    state[STATUS] = _HTTP_STATUS
                    return
            elif depth >= _MAX_DEPTH:
                return
            else:
                has_html = has_html or inner == _HTML
                has_headers = has_headers or inner == _HEADERS
                has_head = has_head or inner == _HEAD
                depth += 1
                stack[depth] = inner
                is_key = byte == 123
                key = 0
            if at < 0:
                return
        elif byte == 125 or byte == 93:
            if depth == 0:
                return
            depth -= 1
            is_key = False  # the next string of an object is a key after a comma
            if depth == 0:
                break
        elif byte == 44:
            is_key = not (context == _METAS or context == _LINKS or context == _HEADER)
        at += 1
    if not is_seen and (depth > 0 or at >= stop or at == 0):
        return
    if not has_message:
        state[STATUS] = NOT_A_PAGE
    elif not has_html:
        state[STATUS] = _NOT_HTML
    else:
        state[STATUS] = PAGE
    state[SAMPLE_START] = state[HEAP]
    for i in range(sample):
        heap[state[HEAP] + i] = scratch[i]
    state[HEAP] += sample
    state[SAMPLE_STOP] = state[HEAP]


@allocating_kernel
def new_work() -> Work:
    """Arrays to read with."""
    stack, fields = np.empty(_MAX_DEPTH + 1, np.int64), np.empty((_K_TEXT + 1, 2), np.int64)
    return Work(np.empty(STATE_SIZE, np.int64), np.empty(OPEN_SIZE, np.int64), stack, fields)


@kernel
def read_page(
    body: Bytes,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
    work: Work,
) -> bool:
    """Read one WAT record; False, and nothing is left of it, where a text of it is not UTF-8. What
    is no page leaves nothing but its STATUS and what was over the cap."""
    page, before = signed(state[PAGES]), work.before
    copy_state(state, before, STATE_SIZE)
    _read(body, page, max_links, heap, scratch, links, captions, metas, state, work)
    if state[STATUS] != PAGE:
        copy_state(before, state, PAGES + 1)
        # What its spans point to will be written over.
        state[BASE_START], state[LANG_START], state[SAMPLE_START] = -1, -1, -1
    elif not is_valid_page(heap, links, captions, metas, before, state):
        copy_state(before, state, STATE_SIZE)
        return False
    copy_state(state, pages[page], STATE_SIZE)
    state[PAGES] = page + 1
    return True


@allocating_kernel
def read_pages(
    data: Bytes,
    places: Rows,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
) -> int:
    """Read the WAT records of Bodies; see Found. How many: it ends before one with a text that is
    not UTF-8."""
    work = new_work()
    for row in range(len(places)):
        body = data[places[row, BODY_START] : places[row, BODY_STOP]]
        if not read_page(
            body, max_links, heap, scratch, links, captions, metas, pages, state, work
        ):
            return row
    return len(places)
