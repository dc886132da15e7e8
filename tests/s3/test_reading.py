"""Streaming from a server that fails now and then: every sample comes, none is masked."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest

from pipeline.core import release
from pipeline.core.storage import Store
from pipeline.stream.loader import Reading, Stream
from pipeline.stream.ranges import Patience
from pipeline.stream.signed import SignedReads
from pipeline.stream.tombstones import Tombstones
from tests.s3 import faulty
from tests.s3.faulty import (
    INTERNAL_ERROR,
    SLOW_DOWN,
    STALLED,
    TORN,
    UNANSWERED,
    UNHEARD,
    Faults,
)
from tests.shards import plain_release
from tests.shards.test_release_job import SAMPLES, samples

DATA = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def bucket(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    s3.mkdir("reading")
    release = tmp_path_factory.mktemp("reading") / "release"
    plain_release.write(release, samples(), 9)
    s3.put(f"{release}/", "reading/release", recursive=True)
    s3.pipe_file("reading/one.bin", DATA)
    return "reading"


@pytest.fixture
def failing(bucket: str) -> Iterator[tuple[str, Faults]]:
    with faulty.before(os.environ["AWS_ENDPOINT_URL"]) as found:
        yield found


@pytest.fixture
def opened() -> Iterator[Callable[[Any], SignedReads]]:
    made: list[SignedReads] = []

    def reads(fs: Any) -> SignedReads:
        made.append(SignedReads(fs, 2))
        return made[-1]

    yield reads
    for each in made:
        each.close()


def read(reads: SignedReads, path: str, *edges: int) -> list[tuple[int, bytes]]:
    """Where each piece starts, and its bytes."""
    return reads.submit(path, edges, lambda start, data: (start, bytes(data))).result(60)


def file_system(address: str) -> Any:
    import s3fs

    return s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True)


def test_ranges_are_those_of_the_object(
    bucket: str, failing: tuple[str, Faults], opened: Callable[[Any], SignedReads]
) -> None:
    address, faults = failing
    reads = opened(file_system(address))
    path = f"{bucket}/one.bin"
    ranges = ((0, 1), (5, 6, 700_000), (1 << 19, 1 << 20), tuple(range(0, 1 << 20, 99_999)))
    # More at a time than there are connections.
    came = [reads.submit(path, edges, lambda start, data: (start, bytes(data))) for edges in ranges]
    for edges, pieces in zip(ranges, came, strict=True):
        assert pieces.result(60) == [(a, DATA[a:b]) for a, b in itertools.pairwise(edges)]
    asked = [line for line in faults.asked if "one.bin" in line]
    assert len(asked) == 4 and all("Signature=" in line for line in asked), "not by signed requests"
    with pytest.raises(FileNotFoundError):
        read(reads, f"{bucket}/none.bin", 0, 1)


@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL_ERROR, UNHEARD, UNANSWERED, TORN])
def test_what_fails_is_asked_for_again(
    bucket: str, failing: tuple[str, Faults], fault: str, opened: Callable[[Any], SignedReads]
) -> None:
    address, faults = failing
    reads = opened(file_system(address))
    path = f"{bucket}/one.bin"
    assert read(reads, path, 0, 10) == [(0, DATA[:10])]
    faults.chosen, faults.left = (lambda line: "one.bin" in line), [fault]
    assert read(reads, path, 1000, 600_000) == [(1000, DATA[1000:600_000])]
    # And by signed requests again after that.
    faults.asked.clear()
    assert read(reads, path, 7, 9) == [(7, DATA[7:9])]
    assert ["Signature=" in line for line in faults.asked] == [True]


def test_a_signed_address_is_never_told(
    bucket: str, failing: tuple[str, Faults], opened: Callable[[Any], SignedReads]
) -> None:
    address, faults = failing
    faults.chosen, faults.always = (lambda line: "one.bin" in line), INTERNAL_ERROR
    import s3fs

    once = {"retries": {"max_attempts": 0}}
    fs = s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True, config_kwargs=once)
    with pytest.raises(OSError) as told:
        read(opened(fs), f"{bucket}/one.bin", 0, 10)
    assert "Signature" not in str(told.value)


def test_an_epoch_from_a_server_that_fails_now_and_then(
    bucket: str, failing: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    address, faults = failing
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        faults.chosen = lambda line: ".tar" in line and line.startswith("GET")
        faults.left = [SLOW_DOWN, "", UNHEARD, TORN, "", INTERNAL_ERROR, UNANSWERED]
        reading = Reading(connections=4, patience=Patience(backoff_s=0.01))
        stream = Stream(f"s3://{bucket}/release", 4, chunk_samples=8, reading=reading)
        served = sorted(key for batch in stream for key in batch.keys)
        assert served == sorted(key for key, *_ in SAMPLES) and stream.damaged == []
        assert not faults.left
        stream.close()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_that_stalls_is_asked_by_another_connection(
    bucket: str, failing: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    address, faults = failing
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        faults.chosen = lambda line: ".tar" in line and line.startswith("GET")
        faults.left = [STALLED, "", STALLED]  # the one connection is stuck, and then the other
        reading = Reading(connections=2, patience=Patience(hedge_s=0.3, stall_s=20))
        stream = Stream(f"s3://{bucket}/release", 4, chunk_samples=8, reading=reading)
        served = sorted(key for batch in stream for key in batch.keys)
        assert served == sorted(key for key, *_ in SAMPLES) and stream.damaged == []
        assert not faults.left
        stream.close()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_what_is_taken_down_elsewhere_is_seen_though_the_folder_was_listed(bucket: str) -> None:
    import s3fs

    root = f"s3://{bucket}/release"
    Tombstones(root)
    for fs in (Store(root).fs, fsspec.core.url_to_fs(root)[0]):
        fs.find(root)  # remembered, by the one that remembers
    elsewhere = s3fs.S3FileSystem(skip_instance_cache=True)
    elsewhere.pipe_file(f"{bucket}/release/{release.TOMBSTONES}", b"one\n")
    try:
        assert Tombstones(root).keys() == {"one"}
    finally:
        elsewhere.rm_file(f"{bucket}/release/{release.TOMBSTONES}")
