"""What the commit protocol relies on, on a server that answers and on one that fails now and then."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.core import s3
from pipeline.core.s3 import PART_BYTES, Taken, Upload, put_once
from pipeline.core.storage import Store, Superseded
from tests.s3 import faulty, servers
from tests.s3.faulty import INTERNAL_ERROR, SLOW_DOWN, UNANSWERED, UNHEARD, Faults

BIG = bytes(range(256)) * (PART_BYTES // 256) + b"and the end"


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    s3.mkdir("uploads")
    return "uploads"


@pytest.fixture
def failing(bucket: str) -> Iterator[tuple[Any, Faults]]:
    """A file system whose server fails as told, with few tries of botocore's own, for speed."""
    import s3fs

    with faulty.before(os.environ["AWS_ENDPOINT_URL"]) as (address, faults):
        yield (
            s3fs.S3FileSystem(
                endpoint_url=address,
                config_kwargs={"retries": {"max_attempts": 3}},
                skip_instance_cache=True,
                use_listings_cache=False,
            ),
            faults,
        )


def write(fs: Any, path: str, data: bytes, once: bool = False) -> None:
    upload = Upload(fs, path, once)
    upload.write(data)
    upload.commit()


def uploads_left(fs: Any, folder: str) -> int:
    return s3.abort_uploads(fs, folder)


@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=["empty", "one request", "parts"])
def test_an_object_is_there_when_it_is_whole(s3: Any, bucket: str, data: bytes) -> None:
    path = f"{bucket}/whole/{len(data)}"
    upload = Upload(s3, path)
    for start in range(0, len(data), 5 << 20):
        upload.write(data[start : start + (5 << 20)])
    assert upload.tell() == len(data)
    s3.invalidate_cache()
    assert not s3.exists(path)
    upload.commit()
    s3.invalidate_cache()
    assert s3.cat_file(path) == data
    assert s3.info(path)["size"] == len(data)
    assert uploads_left(s3, f"{bucket}/whole") == 0


def test_one_of_many_writers_has_a_name(s3: Any, bucket: str) -> None:
    path, won = f"{bucket}/name", []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        start.wait()
        if put_once(s3, path, b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert s3.cat_file(path) == b"%d" % won[0]


def test_what_the_server_does_on_condition_is_found(bucket: str) -> None:
    fs = Store(f"s3://{bucket}").fs
    found = s3.conditions(fs, f"{bucket}/tried")
    assert found.puts
    # Ceph before 20 completes uploads over what is there.
    assert found.completes == (not servers.is_real())
    assert fs.find(f"{bucket}/tried") == [] and uploads_left(fs, f"{bucket}/tried") == 0


def test_an_upload_that_is_to_be_there_once(s3: Any, bucket: str) -> None:
    path = f"{bucket}/once"
    write(s3, path, b"first", once=True)
    with pytest.raises(Taken, match="once"):
        write(s3, path, b"second", once=True)
    if not servers.is_real():
        with pytest.raises(Taken):
            write(s3, path, BIG, once=True)
    assert s3.cat_file(path) == b"first"
    assert uploads_left(s3, bucket) == 0


@pytest.mark.skipif(not servers.is_real(), reason="moto takes minutes; `make s3-test` runs it")
def test_more_names_than_a_listing_holds(bucket: str) -> None:
    store = Store(f"s3://{bucket}/many")
    for number in range(1005):
        put_once(store.fs, store.path(f"{number:04d}"), b"")
    assert len(store.fs.find(store.root)) == 1005
    store.remove("")
    assert not store.exists("")


def test_ranges_and_moves(bucket: str) -> None:
    store = Store(f"s3://{bucket}/moved")
    with store.publish("from/a.bin") as file:
        file.write(b"0123456789")
    assert store.fs.cat_file(store.path("from/a.bin"), start=2, end=5) == b"234"
    assert store.fs.cat_file(store.path("from/a.bin"), start=-3) == b"789"
    store.move("from", "to/there")
    store.move("to/there/a.bin", "alone.bin")
    assert not store.exists("from") and not store.exists("to")
    assert store.fs.cat_file(store.path("alone.bin")) == b"0123456789"


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        (SLOW_DOWN, BIG),
        (INTERNAL_ERROR, b"small"),
        (UNHEARD, BIG),
        (UNANSWERED, b"small"),
        (UNANSWERED, BIG),
    ],
)
def test_a_server_that_fails_now_and_then(
    failing: tuple[Any, Faults], bucket: str, fault: str, data: bytes
) -> None:
    fs, faults = failing
    path = f"{bucket}/now-and-then/{fault.split()[-1]}-{len(data)}"
    faults.chosen = lambda line: not line.startswith("HEAD")
    # Every second request: of each kind that an upload makes, some fail.
    faults.left = [fault, ""] * 4
    write(fs, path, data, once=True)
    faults.left = []
    assert fs.cat_file(path) == data
    assert uploads_left(fs, f"{bucket}/now-and-then") <= 1  # begun, its answer lost: for the sweep
    assert uploads_left(fs, f"{bucket}/now-and-then") == 0


@pytest.mark.parametrize("once", [False, True])
def test_an_answer_that_was_lost_is_no_loss(
    failing: tuple[Any, Faults], bucket: str, once: bool
) -> None:
    """The server has completed the upload; asked again, it knows of none, or of the object."""
    fs, faults = failing
    path = f"{bucket}/lost/{once}"
    faults.chosen = lambda line: line.startswith("POST") and "uploadId" in line
    faults.left = [UNANSWERED]
    write(fs, path, BIG, once)
    assert fs.cat_file(path, start=-7) == b"the end"
    faults.chosen = lambda line: line.startswith("PUT")
    faults.left = [UNANSWERED]
    assert put_once(fs, f"{path}-small", b"mine")
    assert not put_once(fs, f"{path}-small", b"yours")


def test_a_server_that_fails_for_good_leaves_an_error_and_nothing_else(
    failing: tuple[Any, Faults], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, faults = failing
    store = Store(f"s3://{bucket}/for-good")
    monkeypatch.setattr(Store, "fs", fs)
    faults.chosen = lambda line: "partNumber" in line
    faults.always = INTERNAL_ERROR
    with pytest.raises(OSError) as told, store.publish("00000.tar") as file:
        file.write(BIG)
    assert sum("partNumber=1" in line for line in faults.asked) >= 3, "it was not tried again"
    assert any(line.startswith("DELETE") for line in faults.asked), "the upload was not aborted"
    assert store.sweep("") == 0 and fs.find(store.root) == []
    assert servers.SECRET_KEY not in str(told.value)


def test_the_later_of_two_attempts_at_a_part_gives_way(bucket: str) -> None:
    store = Store(f"s3://{bucket}/attempts")
    with pytest.raises(Superseded):
        with store.publish("raw", unless=lambda: store.exists("rows")) as late:
            late.write(BIG)
            with store.publish("rows", unless=lambda: store.exists("rows")) as rows:
                rows.write(b"of the first")
    assert not store.exists("raw") and store.sweep("") == 0
