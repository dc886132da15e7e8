"""Headers of WARC records, many at once: the four fields that say what a record is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes
from pipeline.extract.names import hash_name, hash_of, number_of, table

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
_WARC = hash_of("warc/")
_MAX_DIGITS = 15


def read_heads(heads: Sequence[bytes]) -> tuple[bytes, list[list[int]]]:
    """The heads joined, and (length, kind, content type, start, stop) of each: the block's bytes,
    indices into KINDS and CONTENT_TYPES, and where WARC-Target-URI is in the joined heads.

    heads: each from its version line to its last field. The length is -1 where a head is not
    written as nearly all are: each field there, once, on one line, its type known.
    """
    joined = bytearray().join(heads)
    stops = np.cumsum(np.fromiter(map(len, heads), np.int64, len(heads)))
    found = np.empty((len(heads), 5), np.int64)
    _read(np.frombuffer(joined, np.uint8), stops, found)
    return bytes(joined), found.tolist()


@kernel
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


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
def _read(data: Bytes, stops: Rows, found: Rows) -> None:
    """found: int64 [heads, 5], length (-1 for a header that is not plain), kind, content type,
    start and stop of the URL."""
    at = signed(0)
    for row in range(len(stops)):
        stop = signed(stops[row])
        found[row, :] = -1
        length, is_plain = signed(-1), True
        line = at
        while line < stop:
            end = line
            while end < stop and data[end] != 10:
                if data[end] == 47 and end - at > 4 and data[end - 1] == 67:
                    # "WARC/": another record's header, perhaps
                    is_plain &= hash_name(data, end - 4, end + 1) != _WARC
                end += 1
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
                is_plain &= found[row, 1] < 0
                value = hash_name(data, start, value_end)
                found[row, 1] = number_of(value, _KIND_HASHES, _KIND_NUMBERS)
            elif field == _CONTENT_TYPE:
                is_plain &= found[row, 2] < 0
                value = hash_name(data, start, value_end)
                found[row, 2] = number_of(value, _TYPE_HASHES, _TYPE_NUMBERS)
            elif field == _URL:
                is_plain &= found[row, 3] < 0
                found[row, 3], found[row, 4] = start, value_end
            line = end + 1
        if is_plain and found[row, 1] > 0 and found[row, 2] > 0 and found[row, 3] >= 0:
            found[row, 0] = length
        at = stop
