"""Archives with damage in known places."""

import gzip
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.extract.archive import record, response


@dataclass
class Member:
    """Bytes of a file, and the names of the records that are whole in them."""

    data: bytes
    names: tuple[str, ...]
    is_damaged: bool = False


def name(i: int) -> str:
    return f"https://page.example/{i}"


def plain_record(i: int, rng: random.Random) -> bytes:
    body = rng.randbytes(rng.randrange(0, 900)).hex().encode() + b"\n" * rng.randrange(3)
    if rng.random() < 0.1:
        body = rng.randbytes(rng.randrange(3000))
    if rng.random() < 0.2:
        return record("metadata", name(i), "text/plain", body)
    return response(b"<p>" + body, url=name(i))


_LENGTH = re.compile(rb"Content-Length: ([0-9]+)")
LENGTHS = (
    lambda n, rng: b"%d" % rng.randrange(max(1, n)),
    lambda n, rng: b"%d" % (n + 1 + rng.randrange(5000)),
    lambda n, rng: b"%d" % (n + 10 ** rng.randrange(6, 17)),
    lambda n, rng: b"-%d" % n,
    lambda n, rng: rng.choice([b"", b"x", b"1e3", b"0x10", b"\xd9\xa1", b"9" * 400, b"1 2", b"\0"]),
)


def with_other_length(data: bytes, rng: random.Random) -> bytes:
    """The first Content-Length of a record changed."""
    found = _LENGTH.search(data)
    if found is None:
        return data
    new = rng.choice(LENGTHS)(int(found[1]), rng)
    return data[: found.start(1)] + new + data[found.end(1) :]


def edited(data: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, taken out, put in or repeated."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        if not changed:
            break
        at = rng.randrange(len(changed))
        size = rng.choice([1, 1, 4, 60, 1000])
        match rng.randrange(5):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = rng.randbytes(size)
            case 3:
                changed[at : at + size] = bytes(size)
            case 4:
                changed[at:at] = changed[at : at + size]
    return bytes(changed)


def damaged(records: Sequence[bytes], first: int, is_gzip: bool, rng: random.Random) -> Member:
    """A member of some records of which one is damaged; the names of those that are not."""
    names = [name(first + i) for i in range(len(records))]
    records = list(records)
    pack = (lambda data: gzip.compress(data, 6, mtime=0)) if is_gzip else bytes
    hit = rng.randrange(len(records))
    kind = rng.randrange(7 if is_gzip else 5)
    if kind == 0:
        records[hit] = with_other_length(records[hit], rng)
    elif kind == 1:
        records[hit] = edited(records[hit], rng)
    elif kind == 2:
        head, end, rest = records[hit].partition(b"\r\n\r\n")
        records[hit] = edited(head, rng) + end + rest
    elif kind == 3:
        records[hit] = records[hit][: rng.randrange(len(records[hit]))]
    elif kind == 4:
        records[hit] = rng.choice([b"", b"\r\n", b"junk", bytes(rng.randrange(9000))])
    elif kind == 5:
        return Member(edited(pack(b"".join(records)), rng), (), True)
    else:
        data = pack(b"".join(records))
        return Member(data[: rng.randrange(len(data))], (), True)
    del names[hit]
    return Member(pack(b"".join(records)), tuple(names), True)
