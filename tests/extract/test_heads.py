"""Headers read many at once beside the reading of one: a plain archive goes another way."""

import gzip
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.heads import (
    BLOCK_START,
    BLOCK_STOP,
    CONTENT_TYPE,
    CONTENT_TYPES,
    HOLDS,
    KIND,
    KINDS,
    NOTHING,
    PERHAPS,
    UNKNOWN,
    URL_START,
    URL_STOP,
    WAT_PAGE,
    read_heads,
)
from pipeline.extract.record import Record
from pipeline.extract.records import read_records

NAMES = ("WARC-Type", "WARC-Target-URI", "Content-Type", "WARC-Date", "WARC-Truncated", "X")
VALUES = (
    "response", "metadata", "Metadata", "request", "odd", "", "application/json", "text/plain",
    "Application/JSON", "application/http; msgtype=response", "http://a.example/WARC/1.0", "length",
    "<http://b.example/>", "http://c.example/\xe9\u4e2d", "2026-11-25T00:00:00Z",
)  # fmt: skip
SPELLED = st.sampled_from([str, str, str, str.lower, str.upper])
LINES = st.lists(
    st.tuples(
        st.builds(lambda name, spell: spell(name), st.sampled_from(NAMES), SPELLED),
        st.sampled_from([": ", ":", ":  ", " : ", ":\t"]),
        st.sampled_from(VALUES),
        st.sampled_from(["", "", "", " ", "\r\n folded", "\r\n\tfolded"]),
    ),
    max_size=7,
)
BLOCK = b"the block"


def record(lines: list[tuple[str, str, str, str]], length: str, place: int) -> bytes:
    head = [f"{name}{colon}{value}{end}" for name, colon, value, end in lines]
    head.insert(min(place, len(head)), f"Content-Length: {length}")
    return "\r\n".join(["WARC/1.0", *head, "", ""]).encode() + BLOCK + b"\r\n\r\n"


def told(data: bytes) -> list[Record]:
    return [r._replace(offset=0, inner=0) for r in read_records(io.BytesIO(data), 1 << 20)]


@given(st.lists(st.tuples(LINES, st.sampled_from(["9", "9", "09", "8", "x", "-9"])), max_size=6))
def test_a_stretch_of_members_says_what_a_plain_archive_says(heads: list) -> None:
    plain = [record(lines, length, i) for i, (lines, length) in enumerate(heads)]
    for one in plain:
        assert told(gzip.compress(one)) == told(one)
    # A wrong length tells a cut from a fault by what follows.
    plain = [one for one in plain if all(r.reason is None for r in told(one))]
    assert told(b"".join(map(gzip.compress, plain))) == [r for one in plain for r in told(one)]


def test_a_head_says_what_counts() -> None:
    fields = b"WARC/1.1\r\ncontent-length:  2 \r\nWARC-Type: Response\r\nX: y\r\n"
    fields += b"Content-Type: application/http; msgtype=response\r\nWARC-Target-URI: http://a/"
    one = fields + b"\r\n\r\nhi\r\n\r\n"
    cut, folded = one.replace(b"X: y", b"X: 20WARC/1.0"), one.replace(b"X:", b" X:")
    others = [one.replace(b" 2 ", b" 3 "), b"WARC/1.1\r\n\r\n", b"", one[:-1], one[1:]]
    for other in others:
        assert len(heads([one, cut, folded, one, other, one])) == 4
    found = heads([one, cut, folded, one])
    assert [row[HOLDS] for row in found] == [PERHAPS, UNKNOWN, UNKNOWN, PERHAPS]
    plain = one + cut + folded + one
    for row in (found[0], found[3]):
        assert KINDS[row[KIND]] == "response"
        assert CONTENT_TYPES[row[CONTENT_TYPE]] == "application/http; msgtype=response"
        assert plain[row[URL_START] : row[URL_STOP]] == b"http://a/"
        assert plain[row[BLOCK_START] : row[BLOCK_STOP]] == b"hi"


def heads(records: list[bytes]) -> list[list[int]]:
    stops = np.cumsum([len(one) for one in records])
    starts = stops - [len(one) for one in records]
    members = np.stack([starts, stops, starts, stops], 1).astype(np.int64)
    found = np.empty((len(records), 7), np.int64)
    count = read_heads(np.frombuffer(bytearray(b"".join(records)), np.uint8), members, 99, found)
    return found[:count].tolist()


@given(st.text('"HTPRespons-Mtda', max_size=60), st.booleans(), st.integers(0, 60))
def test_what_tells_of_a_response_is_found_wherever_it_is(
    text: str, is_there: bool, at: int
) -> None:
    block = text[:at] + '"HTTP-Response-Metadata"' * is_there + text[at:]
    head = f"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: http://a/\r\nContent-Type: application/json\r\nContent-Length: {len(block)}\r\n\r\n"
    ((holds, *_),) = heads([f"{head}{block}\r\n\r\n".encode()])
    assert holds == (WAT_PAGE if '"HTTP-Response-Metadata"' in block else NOTHING)
