"""Headers read many at once beside the reading of one: a plain archive goes another way."""

import gzip
import io

from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.heads import CONTENT_TYPES, KINDS, read_heads
from pipeline.extract.records import Record, read_records

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
    plain = b"WARC/1.1\r\ncontent-length:  12 \r\nWARC-Type: Response\r\nX: y\r\n"
    plain += b"Content-Type: application/http; msgtype=response\r\nWARC-Target-URI: http://a/"
    cut = plain.replace(b"X: y", b"WARC-Da: 20WARC/1.0")
    joined, found = read_heads([plain, cut, plain.replace(b"X:", b" X:"), b"", plain])
    for row in (0, 4):
        length, kind, content_type, start, stop = found[row]
        assert (length, KINDS[kind], joined[start:stop]) == (12, "response", b"http://a/")
        assert CONTENT_TYPES[content_type] == "application/http; msgtype=response"
    assert [row[0] for row in found[1:4]] == [-1, -1, -1]
