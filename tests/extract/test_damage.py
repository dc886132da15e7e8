"""Damage costs what is damaged: whatever is left whole is found, and every stretch is counted."""

import gzip
import io
import os
import random
import re
import zlib

import pytest

from pipeline.extract.members import Place
from pipeline.extract.record import Record
from pipeline.extract.records import read_records
from tests.extract.damage import Member, damaged, name, plain_record

MAX_BYTES = 100_000


def archive(rng: random.Random, records: int, damage: float, is_gzip: bool) -> list[Member]:
    members, i = [], 0
    while i < records:
        count = rng.choice([1, 1, 1, 1, 2, 5])
        chosen = [plain_record(i + k, rng) for k in range(count)]
        if rng.random() < damage:
            members.append(damaged(chosen, i, is_gzip, rng))
        else:
            data = b"".join(chosen)
            names = tuple(name(i + k) for k in range(count))
            members.append(Member(gzip.compress(data, 6, mtime=0) if is_gzip else data, names))
        i += count
    return members


def read(data: bytes, **more) -> list[Record]:
    return list(read_records(io.BytesIO(data), MAX_BYTES, **more))


_URI = re.compile(rb"WARC-Target-URI: (\S+)")


def _untold(members: list[Member], found: list[Record], whole: set[str]) -> list[int]:
    """Where neighbouring members are damaged and hold something lost, but nothing is told of it."""
    told = [r.offset for r in found if r.reason or r.url not in whole]
    at, start, is_lost, untold = 0, 0, False, []
    for member in [*members, Member(b"", ())]:
        if not member.is_damaged:
            if is_lost and not any(start <= offset < at for offset in told):
                untold.append(start)
            start, is_lost = at + len(member.data), False
        else:
            is_here = any(at <= r.offset < at + len(member.data) for r in found)
            is_lost |= not member.names and not is_here and not _is_blank(member.data)
        at += len(member.data)
    return untold


def _is_blank(data: bytes) -> bool:
    try:
        return not (data.strip(b"\r\n") and gzip.decompress(data).strip(b"\r\n"))
    except (OSError, EOFError, zlib.error):
        return False


def data_of(members: list[Member]) -> bytes:
    return b"".join(m.data for m in members)


def check(seed: int, records: int = 60, damage: float = 0.2) -> int:
    rng = random.Random(seed)
    is_gzip = rng.random() < 0.7
    members = archive(rng, records, damage, is_gzip)
    data = data_of(members)
    found = read(data)
    whole = {n for m in members for n in m.names}
    good = {r.url for r in found if r.reason is None}
    # A wrong length may end just where another record does: nothing tells it from a right one.
    swallowed = {n.decode() for r in found if r.url not in whole for n in _URI.findall(r.block)}
    missing = whole - good - swallowed
    assert not missing and len(swallowed) < 4, (seed, sorted(missing)[:3])
    assert _untold(members, found, whole) == [], seed
    places = [Place(r.offset, r.inner) for r in found]
    assert all(a < b for a, b in zip(places, places[1:], strict=False)), (seed, places)
    for start in rng.sample(range(len(found)), min(4, len(found))):
        assert read(data, start=places[start]) == found[start:], (seed, start)
    return len(found)


@pytest.mark.parametrize("block", range(8))
def test_what_is_whole_is_found_whatever_lies_between(block: int) -> None:
    assert sum(check(block * 1000 + i) for i in range(25)) > 500


def test_what_is_whole_is_found_in_many_archives() -> None:
    """PAIRMILL_FUZZ archives of 60 records; 2500 of them are some 100,000 found again."""
    archives = int(os.environ.get("PAIRMILL_FUZZ", 200))
    assert sum(check(1_000_000 + i) for i in range(archives)) > 40 * archives
