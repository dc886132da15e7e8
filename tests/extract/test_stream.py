"""Remote archives: the rows are those of the local file, whatever the network does."""

import gzip
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.extract.records import read_records
from pipeline.extract.retry import Pace, judge
from pipeline.extract.rows import PairRows, read_archive
from pipeline.extract.stream import open_archive
from tests.extract.archive import response
from tests.extract.faulty import Faulty, serve

_RNG = random.Random(5)
PAGES = [
    response(
        f"<img src=/{i}.jpg alt='image {i}'><!--".encode() + _RNG.randbytes(9000).hex().encode(),
        url=f"https://page.example/{i}",
    )
    for i in range(60)
]
DATA = b"".join(gzip.compress(page, 1, mtime=0) for page in PAGES)


@pytest.fixture(scope="module")
def server() -> Iterator[Faulty]:
    with serve(DATA) as faulty:
        yield faulty


class Waits(list):
    """Takes the place of sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def rows(url: str, **more):
    waits = Waits()
    with open_archive(url, pace=Pace(sleep=waits), **more) as file:
        found = PairRows("x", 100)
        batches = list(read_archive(file, found, 1 << 22, 64))
    return [row for b in batches for row in b.to_pylist()], found.records.to_json(), waits


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("local") / "x.warc.gz"
    path.write_bytes(DATA)
    found = rows(str(path))
    assert len(found[0]) == 60
    return found


@pytest.mark.parametrize(
    "kind",
    ["ok", "resets", "busy", "limited", "noranges", "noranges-resets", "flaky"],
)
@pytest.mark.parametrize("is_ahead", [True, False])
def test_rows_are_those_of_the_local_file(
    server: Faulty, expected, kind: str, is_ahead: bool
) -> None:
    server.gets.clear()
    found = rows(f"{server.url}/{kind}/x.warc.gz", is_ahead=is_ahead, block_bytes=256 << 10)
    assert found[:2] == expected[:2]
    waits = found[2]
    assert (len(waits) > 0) == (kind not in ("ok", "noranges")) or kind == "noranges"
    if kind == "limited":
        assert 7.0 in waits


def test_waits_grow_and_differ(server: Faulty) -> None:
    waits = Waits()
    with pytest.raises(OSError, match=rf"archive {server.url}/dead/x cannot be read .* 6 tries"):
        open_archive(f"{server.url}/dead/x", max_tries=6, pace=Pace(sleep=waits))
    assert len(waits) == 5 and len(set(waits)) == 5
    assert waits[4] > waits[0] and 0.25 <= waits[0] <= 0.75 and 4 <= waits[4] <= 12


@pytest.mark.parametrize(("kind", "status"), [("gone", 404), ("secret", 403)])
def test_what_will_not_change_is_not_tried_again(server: Faulty, kind: str, status: int) -> None:
    waits = Waits()
    with pytest.raises(OSError, match=f"archive {server.url}/{kind}/x cannot.*HTTP {status}"):
        open_archive(f"{server.url}/{kind}/x", pace=Pace(sleep=waits))
    assert not waits


def test_file_that_ends_before_its_length_is_an_error(server: Faulty) -> None:
    waits = Waits()
    with open_archive(
        f"{server.url}/short/x", block_bytes=64 << 10, max_tries=3, pace=Pace(sleep=waits)
    ) as file:
        with pytest.raises(OSError, match=rf"short/x cannot be read at byte {len(DATA) // 2} "):
            list(read_records(file, 1 << 20))


def test_nobody_listens() -> None:
    with pytest.raises(OSError, match=r"cannot be read at byte 0 after 2 tries: \w+"):
        open_archive("http://127.0.0.1:9/x", max_tries=2, pace=Pace(sleep=Waits()))
    with pytest.raises(OSError, match="archive nope://x/y cannot be read"):
        open_archive("nope://x/y")


def test_seeks_anywhere(server: Faulty) -> None:
    rng = random.Random(1)
    for kind in ("ok", "noranges"):
        with open_archive(f"{server.url}/{kind}/x", block_bytes=100_000, pace=Pace()) as file:
            for _ in range(25):
                at, size = rng.randrange(len(DATA) + 100), rng.randrange(300_000)
                file.seek(at)
                assert file.read(size) == DATA[at : at + size]
            file.seek(0)
            assert hashlib.md5(file.read()).digest() == hashlib.md5(DATA).digest()


def test_throttling_slows_every_request_and_success_speeds_up() -> None:
    waits = Waits()
    pace = Pace(sleep=waits)
    busy = judge(OSError(16, "Please reduce your request rate"))
    assert busy.is_transient and busy.is_throttled
    for tries in (1, 2, 3):
        pace.failed(busy, tries)
    slowest = pace.pause_s
    assert slowest >= 0.4
    for _ in range(100):
        pace.wait()
        pace.succeeded()
    assert pace.pause_s == 0 and waits[3] == slowest


def test_memory_file_system(expected) -> None:
    fsspec.filesystem("memory").pipe_file("/x.warc.gz", DATA)
    assert rows("memory://x.warc.gz", block_bytes=70_000)[:2] == expected[:2]


@pytest.fixture(scope="module")
def crawl(s3: Any) -> str:
    s3.mkdir("crawl")
    s3.pipe_file("crawl/a b/x.warc.gz", DATA)
    s3.invalidate_cache()
    return "s3://crawl"


def test_object_storage(crawl: str, expected) -> None:
    assert rows(f"{crawl}/a b/x.warc.gz", block_bytes=100_000)[:2] == expected[:2]
    with pytest.raises(OSError, match=f"archive {crawl}/none.warc.gz cannot be read"):
        rows(f"{crawl}/none.warc.gz")


def test_local_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.warc.gz"):
        open_archive(str(tmp_path / "none.warc.gz"))
