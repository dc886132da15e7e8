"""Members inflated by libdeflate, beside Python's own gzip."""

import gzip
import random
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extract.inflate import (
    INNER,
    MEMBER_BYTES,
    MEMBER_OFFSET,
    OFFSET,
    PLAIN_START,
    PLAIN_STOP,
    READING_MEMBER,
    STEPS,
    Inflater,
    inflate_members,
    new_watch,
)

OFFSET_OF_FILE = 1000
CANARY = 0xA5


def inflate(data: bytes, room: int = 1 << 20, most: int = 64, **bounds: int) -> list[bytes]:
    """The content of the members at the start, which must lie one behind the other."""
    inflater, watch = Inflater(), new_watch()
    plain = np.full(room + 64, CANARY, np.uint8)
    members = np.empty((most, 4), np.int64)
    count = inflate_members(
        inflater.function,
        inflater.handle,
        np.frombuffer(data, np.uint8),
        0,
        bounds.get("last", len(data)),
        OFFSET_OF_FILE,
        plain[:room],
        bounds.get("enough", room),
        members,
        watch,
    )
    assert (plain[room:] == CANARY).all()
    assert watch[STEPS] in (count, count + 1)
    at, start = OFFSET_OF_FILE, 0
    for row in members[:count].tolist():
        assert row[MEMBER_OFFSET] == at and row[PLAIN_START] == start
        at, start = at + row[MEMBER_BYTES], row[PLAIN_STOP]
    if watch[STEPS]:
        last = at if watch[STEPS] > count else members[count - 1, MEMBER_OFFSET]
        assert (watch[OFFSET], watch[INNER]) == (last, READING_MEMBER)
    return [plain[row[PLAIN_START] : row[PLAIN_STOP]].tobytes() for row in members[:count]]


def packed(text: bytes, level: int) -> bytes:
    return gzip.compress(text, level)


TEXTS = st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 9)), max_size=8)


@given(TEXTS)
def test_members_are_what_gzip_says(texts: list[tuple[bytes, int]]) -> None:
    plain = [text * (level + 1) for text, level in texts]
    data = b"".join(packed(text, level) for text, (_, level) in zip(plain, texts, strict=True))
    assert inflate(data) == plain


def test_it_ends_before_what_it_cannot_read() -> None:
    texts = [b"a" * 500, random.Random(1).randbytes(900), b""]
    data = b"".join(map(gzip.compress, texts))
    bad = bytearray(gzip.compress(b"b" * 900))
    bad[-6] ^= 1  # its checksum
    for more in (b"", b"\0" * 100, bytes(bad), gzip.compress(b"c" * 900)[:-1], b"\x1f\x8b\x08"):
        assert inflate(data + more) == texts
    assert inflate(data + gzip.compress(bytes(1 << 20)), room=1 << 20) == texts


def test_bounds_are_kept() -> None:
    one = gzip.compress(b"x" * 100)
    assert len(inflate(one * 10)) == 10
    assert len(inflate(one * 10, most=3)) == 3
    assert len(inflate(one * 10, last=len(one))) == 2
    assert len(inflate(one * 10, last=len(one) - 1)) == 1
    assert len(inflate(one * 10, last=-1)) == 0
    assert len(inflate(one * 10, enough=101)) == 2
    assert len(inflate(one * 10, room=350)) == 3
    assert inflate(gzip.compress(bytes(1 << 20)), room=1000) == []


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_damage_is_never_taken_for_content(seed: int, hits: int) -> None:
    rng = random.Random(seed)
    text = rng.randbytes(rng.randrange(400)) + b"y" * rng.randrange(400)
    data = bytearray(gzip.compress(text))
    for _ in range(hits):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    found = inflate(bytes(data), room=1 << 12)
    if found:  # of the header only the time and such may have changed
        assert found == [text] and zlib.crc32(found[0]) == zlib.crc32(text)
