"""Odd records: each is counted under the right reason, within bounds, and reading goes on."""

import gzip
import io
import re
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.core.errors import InputError
from pipeline.extract.archives import list_archives
from pipeline.extract.inflate import INNER, OFFSET, READING_MEMBER, STEPS, new_watch
from pipeline.extract.members import Place
from pipeline.extract.record import Record
from pipeline.extract.records import read_records
from tests.extract.archive import gz, response

GOOD = response(b"<p>good", url="https://page.example/good")
HEAD, _, REST = GOOD.partition(b"\r\n\r\n")


def read(data: bytes, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_records(io.BytesIO(data), max_bytes))


def told(records: list[Record]) -> list[str]:
    return ["good" if r.reason is None and r.block else str(r.reason) for r in records]


def with_length(text: bytes) -> bytes:
    return re.sub(rb"Content-Length: [0-9]+", text, GOOD)


@pytest.mark.parametrize("pack", [gz, lambda *r: b"".join(r)], ids=["gzip", "plain"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        with_length(b"Content-Length: 3"),
        with_length(b"Content-Length: 300"),
        with_length(b"Content-Length: 3000000000"),
        with_length(b"Content-Length: 99999999999999999999999"),
        with_length(b"Content-Length: -1"),
        with_length(b"Content-Length: many"),
        with_length(b"Content-Length: "),
        with_length(b"Content-Something: 3"),
        HEAD[:90],
        HEAD + b"\r\n",
        HEAD.replace(b"Content-Type", b"X\0" * 600_000) + b"\r\n\r\n" + REST,
        HEAD + b"\r\nx: y" * 300_000 + b"\r\n\r\n" + REST,
        b"neither header nor record",
        b"\0" * 5000,
    ],
    ids=lambda b: repr(b[180:260])[:40],
)
def test_bad_record_between_good_ones_costs_itself(bad: bytes, pack, together: bool) -> None:
    data = pack(GOOD + bad + GOOD) if together else pack(GOOD, bad, GOOD)
    assert told(read(data)) == ["good", "corrupt", "good"]
    # The same at the end is a cut, where that is what it looks like.
    last = told(read(pack(GOOD, bad)))
    assert last[0] == "good" and last[1:] in (["corrupt"], ["truncated"])


@pytest.mark.parametrize("pack", [gz, lambda *r: b"".join(r)], ids=["gzip", "plain"])
def test_large_record_is_passed_over(pack) -> None:
    large = response(b"x" * 3_000_000)
    assert told(read(pack(GOOD, large, GOOD))) == ["good", "too_large", "good"]
    assert told(read(pack(GOOD, large)[:-1000])) == ["good", "truncated"]


def test_folded_and_odd_headers_are_read() -> None:
    odd = (
        b"WARC/1.1\r\nwarc-type : Response\r\nCONTENT-LENGTH:5\r\n"
        b"Content-Type:\r\n application/http;\r\n\tmsgtype=response\r\n"
        b"WARC-Target-URI: <https://page.example/a>\r\n\r\nhello\r\n\r\n"
    )
    (record,) = read(gzip.compress(odd))
    assert record.kind == "response" and record.block == b"hello"
    assert record.url == "https://page.example/a"
    assert record.content_type == "application/http; msgtype=response"


def test_header_that_was_cut_lends_nothing_to_the_next_record() -> None:
    cut = HEAD[:150] + GOOD.replace(b"/good", b"/next")
    found = read(gz(cut))
    assert told(found) == ["corrupt", "good"] and found[1].url == "https://page.example/next"


def test_member_boundaries_that_are_no_record_boundaries() -> None:
    plain = (GOOD + response(b"y" * 40_000) + GOOD) * 5
    for size in (100, 1000, 65_280):
        blocks = [plain[i : i + size] for i in range(0, len(plain), size)]
        found = read(gz(*blocks))
        assert told(found) == ["good"] * 15
        assert len({(r.offset, r.inner) for r in found}) == 15
        for k in (1, 7, 14):
            start = Place(found[k].offset, found[k].inner)
            assert list(read_records(io.BytesIO(gz(*blocks)), 1 << 20, start)) == found[k:]


def test_padding_at_the_end_is_nothing_and_a_hole_is_damage() -> None:
    data = gz(GOOD, GOOD)
    assert told(read(data + bytes(512))) == ["good", "good"]
    assert told(read(data + bytes(100_000))) == ["good", "good", "corrupt"]
    assert told(read(data + bytes(512) + gz(GOOD))) == ["good", "good", "corrupt", "good"]


def test_one_member_for_all_records() -> None:
    plain = GOOD + with_length(b"Content-Length: 9999999999") + GOOD
    found = read(gzip.compress(plain * 3))
    assert told(found) == ["good", "corrupt", "good"] * 3
    assert {r.offset for r in found} == {0} and len({r.inner for r in found}) == 9


def test_members_to_skip_are_told() -> None:
    data = gz(GOOD, GOOD, GOOD)
    offsets = [r.offset for r in read(data)]
    watch = new_watch()
    found = []
    for record in read_records(io.BytesIO(data), 1 << 20, watch=watch, skip={offsets[1]}):
        found.append(record)
        assert watch[OFFSET] >= record.offset and watch[INNER] == READING_MEMBER
    assert told(found) == ["good", "crashed", "good"]
    assert watch[STEPS] >= 3


def test_an_archive_of_odd_members_is_not_inflated_over_and_over() -> None:
    odd = [GOOD + GOOD, with_length(b"Content-Length: 1")]
    for member in odd:
        watch = new_watch()
        list(read_records(io.BytesIO(gz(member) * 500), 1 << 20, watch=watch))
        assert watch[STEPS] <= 4 * 500


_LIMIT = r"""
import re, sys
from pipeline.extract.records import read_records
with open(sys.argv[1], "rb") as file:
    for r in read_records(file, 32 << 20):
        print(r.kind or "-", r.reason, len(r.block))
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) << 10)
"""


def _compressed(*pieces: tuple[bytes, int]) -> bytes:
    """A gzip member of pieces that are repeated, made without holding them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = []
    for piece, times in pieces:
        parts += [packer.compress(piece) for _ in range(times)]
    return b"".join([*parts, packer.flush()])


MIB = 1 << 20
# More than the process may take in all.
LARGE_MIB = 640


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("record", "too_large"),
        ("line", "corrupt"),
        ("lines", "corrupt"),
        ("newlines", None),
        ("whole", None),
        ("empty members", None),
        ("no newline", "corrupt"),
    ],
)
def test_memory_is_bounded(tmp_path: Path, kind: str, expected: str | None) -> None:
    zeros = (bytes(MIB), LARGE_MIB)
    head = HEAD.rpartition(b"Content-Length")[0]
    bad = {
        "record": lambda: _compressed(
            (head + b"Content-Length: %d\r\n\r\n" % (LARGE_MIB * MIB), 1), zeros, (b"\r\n\r\n", 1)
        ),
        "line": lambda: _compressed((head + b"X: ", 1), (b"y" * MIB, LARGE_MIB)),
        "lines": lambda: _compressed((head, 1), (b"X: y\r\n" * 100_000, 300)),
        "newlines": lambda: _compressed((GOOD, 1), (b"\r\n" * (MIB // 2), LARGE_MIB)),
        "whole": lambda: _compressed((response(b"z" * (31 * MIB)), 4)),
        "empty members": lambda: gzip.compress(b"") * 300_000,
        "no newline": lambda: _compressed((b"WARC/1.0" * (MIB // 8), LARGE_MIB)),
    }[kind]()
    path = tmp_path / "x.warc.gz"
    path.write_bytes(gz(GOOD) + bad + gz(GOOD))
    done = subprocess.run(
        [sys.executable, "-c", _LIMIT, str(path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, peak = done.stdout.split("\n")[:-1]
    assert lines[0].startswith("response None") and lines[-1].startswith("response None")
    middle = [line.split()[1] for line in lines[1:-1] if line.split()[1] != "None"]
    assert middle == ([expected] if expected else [])
    assert int(peak) < 512 * MIB


# Where warcio counts more or others, by file, and why.
_OTHERWISE = {
    "invalid-warcfile-lonely-warcinfo-metadata.warc": "headers alone; it ends after the first",
    "invalid-warcheaderfieldpolicy-11.warc": "a duplicate length; it ends there",
    "invalid-warcheaderfieldpolicy-12.warc": "likewise",
    "invalid-warcheaderfieldpolicy-13.warc": "likewise",
    "invalid-warcrecord-1.warc": "headers without a length; it ends after the first",
}


def _by_kind(path: Path) -> Counter[str]:
    with path.open("rb") as file:
        return Counter(r.kind for r in read_records(file, 1 << 30))


def _by_warcio(path: Path) -> tuple[Counter[str], bool]:
    """Records by type, and whether it read to the end."""
    found: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                found[(record.rec_type or "unknown").strip().lower()] += 1
    except Exception:  # noqa: BLE001 - whatever it cannot read
        return found, False
    return found, True


def test_record_counts_by_type_are_those_of_warcio(real_data: Path) -> None:
    """A stretch of damage here may be a record there, and there reading ends at damage."""
    different, compared = {}, 0
    for folder in ("warc", "wat", "warc-unit"):
        for path in sorted(f for f in (real_data / folder).rglob("*") if f.is_file()):
            try:
                list_archives([str(path)])
            except InputError:  # ARC, CDX, ...: see test_archives
                continue
            ours, (theirs, is_whole) = _by_kind(path), _by_warcio(path)
            damage = ours.pop("", 0)
            compared += 1
            lost, more = theirs - ours, ours - theirs
            if lost.total() > damage or (more and is_whole):
                different[path.name] = (dict(lost), dict(more), damage)
            if folder != "warc-unit":
                assert ours == theirs and not damage, path
    assert compared > 350
    assert different.keys() == _OTHERWISE.keys(), different
