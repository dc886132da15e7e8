"""Headers of WARC records, many at once: what each is, and whether it can hold a page."""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.core.words import find_byte, find_pair, repeated
from pipeline.extract.inflate import PLAIN_START, PLAIN_STOP
from pipeline.extract.names import hash_exact, hash_name, hash_of, number_of, table

Rows = npt.NDArray[np.int64]

# Source: WARC 1.1, section 5.5, the types that are written often; section 6, their media types.
KINDS = ("", "response", "metadata", "resource", "request", "warcinfo", "revisit", "conversion")
CONTENT_TYPES = (
    "",
    "application/json",
    "application/http; msgtype=response",
    "application/http;msgtype=response",
    "application/http; msgtype=request",
    "application/http;msgtype=request",
    "application/warc-fields",
    "text/html",
)
_RESPONSE, _METADATA, _RESOURCE = range(1, 4)
_JSON = 1
# Columns of what is found. HOLDS: one of the four below. Where the URL and the block are.
HOLDS, KIND, CONTENT_TYPE, URL_START, URL_STOP, BLOCK_START, BLOCK_STOP = range(7)
HEAD_SIZE = 7
# A header to be read one by one; no page; perhaps one; a WAT record about a page, whose URL is
# ASCII and not in angle brackets.
UNKNOWN, NOTHING, PERHAPS, WAT_PAGE = range(4)
_LENGTH, _KIND, _URL, _CONTENT_TYPE = range(1, 5)
_FIELD_HASHES, _FIELD_NUMBERS = table(
    {
        "content-length": _LENGTH,
        "warc-type": _KIND,
        "warc-target-uri": _URL,
        "content-type": _CONTENT_TYPE,
    }
)
_KIND_HASHES, _KIND_NUMBERS = table({kind: i for i, kind in enumerate(KINDS) if kind})
_TYPE_HASHES, _TYPE_NUMBERS = table({name: i for i, name in enumerate(CONTENT_TYPES) if name})
_WARC, _START = hash_of("warc/"), hash_of("WARC/")
_RESPONSE_METADATA = '"HTTP-Response-Metadata"'
_MARK, _MARK_BYTES = hash_of(_RESPONSE_METADATA), len(_RESPONSE_METADATA)
_QUOTE, _H, _C, _SLASH = b'"HC/'
_NEWLINES = repeated(10)
_MAX_DIGITS = 15
# Headers of real archives are of some 500 bytes; a data: URL may be of some 100 KB.
MAX_HEADER_BYTES = 1 << 20


@kernel
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@kernel
def _is_empty_line(data: Bytes, at: int) -> bool:
    """Whether a line ends at data[at], in CR LF, and an empty one follows. Checks no bound."""
    is_first = data[at] == 13 and data[at + 1] == 10
    return bool(is_first and data[at + 2] == 13 and data[at + 3] == 10)


@kernel
def _number(data: Bytes, start: int, stop: int) -> int:
    """The decimal number that is all of data[start:stop]; -1 for anything else."""
    if start == stop or stop - start > _MAX_DIGITS:
        return -1
    value = 0
    for i in range(start, stop):
        digit = signed(data[i]) - 48
        if not 0 <= digit <= 9:
            return -1
        value = value * 10 + digit
    return value


@kernel
def _is_plain_url(data: Bytes, start: int, stop: int) -> bool:
    """Whether the bytes of a URL are its text."""
    for at in (start, stop - 1):
        if start < stop and (data[at] == 60 or data[at] == 62):  # < >
            return False
    merged = 0
    for i in range(start, stop):
        merged |= signed(data[i])
    return merged < 0x80


@kernel
def _has_response(data: Bytes, start: int, stop: int) -> bool:
    """Whether data[start:stop], JSON of a WAT record, tells of a response."""
    last = stop - _MARK_BYTES
    at = find_pair(data, start, stop, _QUOTE, _H)
    while at <= last:
        if hash_exact(data, at, at + _MARK_BYTES) == _MARK:
            return True
        at = find_pair(data, at + 1, stop, _QUOTE, _H)
    return False


@kernel
def _has_version(data: Bytes, at: int, stop: int) -> bool:
    """Whether "WARC/" ends in data[at:stop], as where another record's header begins."""
    at = find_pair(data, at, stop, _C, _SLASH)
    while at < stop:
        if hash_name(data, at - 3, at + 2) == _WARC:
            return True
        at = find_pair(data, at + 1, stop, _C, _SLASH)
    return False


@kernel
def _read(data: Bytes, at: int, stop: int, found: Rows) -> int:
    """Read the fields of a header that starts at data[at]; the length they give of the block, -1
    where it is not written as nearly all are: each field there, once, on one line, its type known.

    found: int64 [7], filled. BLOCK_START is set behind the empty line; to -1 where there is none.
    """
    length, is_plain = signed(-1), True
    line = at
    found[BLOCK_START] = -1
    while line < stop:
        end = find_byte(data, line, stop, _NEWLINES)
        first = signed(data[line])
        if line > at and (first == 32 or first == 9):
            is_plain = False  # it goes on with the line before
        field, name_end = 0, line
        if first | 32 == 99 or first | 32 == 119:  # c or w
            while name_end < end and data[name_end] != 58 and name_end - line < 16:
                name_end += 1
            if name_end < end and data[name_end] == 58:
                name = hash_name(data, line, name_end)
                field = number_of(name, _FIELD_HASHES, _FIELD_NUMBERS)
        start, value_end = name_end + 1, end
        if field > 0:
            while start < value_end and _is_space(signed(data[start])):
                start += 1
            while value_end > start and _is_space(signed(data[value_end - 1])):
                value_end -= 1
        if field == _LENGTH:
            is_plain &= length < 0
            length = _number(data, start, value_end)
        elif field == _KIND:
            is_plain &= found[KIND] < 0
            value = hash_name(data, start, value_end)
            found[KIND] = number_of(value, _KIND_HASHES, _KIND_NUMBERS)
        elif field == _CONTENT_TYPE:
            is_plain &= found[CONTENT_TYPE] < 0
            value = hash_name(data, start, value_end)
            found[CONTENT_TYPE] = number_of(value, _TYPE_HASHES, _TYPE_NUMBERS)
        elif field == _URL:
            is_plain &= found[URL_START] < 0
            found[URL_START], found[URL_STOP] = start, value_end
        if end > line and end + 3 <= stop and _is_empty_line(data, end - 1):
            found[BLOCK_START] = end + 3
            break
        line = end + 1
    # A warcinfo has no URL, and needs none.
    is_whole = found[KIND] > 0 and found[CONTENT_TYPE] > 0
    is_whole &= found[URL_START] >= 0 or found[KIND] > _RESOURCE
    is_one = not _has_version(data, at + 4, signed(found[BLOCK_START]))
    return length if is_plain and is_whole and is_one else signed(-1)


@kernel
def read_one_head(plain: Bytes, start: int, stop: int, max_record_bytes: int, found: Rows) -> bool:
    """What the member plain[start:stop] holds; False where that is not just one record.

    found: int64 [7], filled: see `read_heads`.
    """
    if stop - start < 9 or hash_exact(plain, start, start + 5) != _START:
        return False
    if not _is_empty_line(plain, stop - 4):
        return False
    found[:] = -1
    length = _read(plain, start, min(stop, start + MAX_HEADER_BYTES), found)
    block = found[BLOCK_START]
    if not 0 <= block <= stop - 4:
        return False
    found[BLOCK_STOP] = stop - 4
    if length < 0:
        found[HOLDS] = UNKNOWN
        return True
    if block + length + 4 != stop or length > max_record_bytes:
        return False
    kind, content_type = found[KIND], found[CONTENT_TYPE]
    found[HOLDS] = NOTHING
    if kind == _RESPONSE or kind == _RESOURCE:
        found[HOLDS] = PERHAPS
    elif kind == _METADATA and content_type == _JSON and _has_response(plain, block, stop - 4):
        is_plain = _is_plain_url(plain, found[URL_START], found[URL_STOP])
        found[HOLDS] = WAT_PAGE if is_plain else PERHAPS
    return True


@kernel
def read_heads(plain: Bytes, members: Rows, max_record_bytes: int, found: Rows) -> int:
    """What members hold, as far as each holds just one record; how many of them do.

    plain, members: of `inflate_members`. max_record_bytes: of a record's block. found: int64
    [members, 7], filled; where HOLDS is UNKNOWN, only BLOCK_START, which is behind the header, and
    BLOCK_STOP are to be relied on, and whether the length is right is not known.
    """
    for row in range(len(members)):
        start, stop = signed(members[row, PLAIN_START]), signed(members[row, PLAIN_STOP])
        if not read_one_head(plain, start, stop, max_record_bytes, found[row]):
            return row
    return len(members)
