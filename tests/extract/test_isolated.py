"""What crashes the parser costs its record: the rows are those of an archive without it."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.extract import process
from pipeline.extract.isolated import READER, IsolatedReader
from pipeline.extract.records import read_records
from pipeline.extract.task import Limits
from tests.extract.archive import response

CRASHER = "tests.extract.crasher"
KINDS = ("segfault", "abort", "memory")  # and below: kill, raise
# A batch after every few pages, so that crashes fall before, between and behind batches.
LIMITS = Limits(batch_rows=5, timeout_s=60.0, memory_bytes=400 << 20)
# A crowded machine may halt a process for seconds: only what waits for this has so short a limit.
HASTY = msgspec.structs.replace(LIMITS, timeout_s=2.0)


def page(i: int) -> bytes:
    return response(
        f"<img src=/{i}.jpg alt='image {i}'><img src=n{i}.jpg>".encode(),
        url=f"https://page.example/{i}",
    )


def archive(path: Path, count: int, bad: dict[int, str], together: int = 1) -> Path:
    pages = [
        response(b"<img src=bad.jpg alt=bad>CRASH-" + bad[i].encode()) if i in bad else page(i)
        for i in range(count)
    ]
    groups = [pages[i : i + together] for i in range(0, count, together)]
    path.write_bytes(b"".join(gzip.compress(b"".join(g), mtime=0) for g in groups))
    return path


def accounts() -> list[Account]:
    return [Account("records"), Account("links"), Account("pairs")]


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    started = IsolatedReader(LIMITS, max_crashes=10, reader=CRASHER)
    yield started
    started.close()


def read(reader: IsolatedReader, path: Path, **more):
    counted = accounts()
    rows = [row for batch in reader.read(str(path), counted, **more) for row in batch.to_pylist()]
    for account in counted:
        account.check("test")
    return rows, counted


def check(reader: IsolatedReader, path: Path, count: int, bad: set[int]) -> None:
    rows, (records, links, pairs) = read(reader, path)
    assert [r["caption"] for r in rows] == [f"image {i}" for i in range(count) if i not in bad]
    with path.open("rb") as file:
        offsets = {r.url: r.offset for r in read_records(file, 1 << 20)}
    assert all(r["record_offset"] == offsets[r["page_url"]] for r in rows)
    good = count - len(bad)
    assert (records.rows_in, records.kept) == (count, good)
    assert records.dropped == ({"crashed": len(bad)} if bad else {})
    assert (links.rows_in, links.kept, pairs.kept) == (2 * good, good, good)


@pytest.mark.parametrize("kind", KINDS)
def test_crash_costs_the_record(reader: IsolatedReader, tmp_path: Path, kind: str) -> None:
    check(reader, archive(tmp_path / "x.warc.gz", 23, {11: kind}), 23, {11})


@pytest.mark.parametrize("kind", ["hang", "sleep"])
def test_what_gets_nowhere_costs_the_record(tmp_path: Path, kind: str) -> None:
    hasty = IsolatedReader(HASTY, 10, CRASHER)
    try:
        check(hasty, archive(tmp_path / "x.warc.gz", 23, {11: kind}), 23, {11})
    finally:
        hasty.close()


@pytest.mark.parametrize(
    ("bad", "together"),
    [
        # Each crash costs a second: the ends, across a batch, apart, in one member.
        ({0, 22}, 1),
        ({9, 10, 11}, 1),
        ({5, 6, 17}, 4),
        ({0, 5, 22}, 100),
    ],
)
def test_crashes_anywhere(
    reader: IsolatedReader, tmp_path: Path, bad: set[int], together: int
) -> None:
    kinds = {i: ("kill", "raise")[i % 2] for i in bad}
    check(reader, archive(tmp_path / "x.warc.gz", 23, kinds, together), 23, bad)


def test_plain_archive_and_ranges(reader: IsolatedReader, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.warc.gz", 12, {3: "kill", 4: "kill"})
    with path.open("rb") as file:
        starts = [r.offset for r in read_records(file, 1 << 20)] + [path.stat().st_size]
    ranges = [(a, b - a) for a, b in zip(starts, starts[1:], strict=False)]
    rows, counted = read(reader, path, ranges=[ranges[i] for i in (1, 3, 4, 5, 11)])
    assert [r["caption"] for r in rows] == ["image 1", "image 5", "image 11"]
    assert counted[0].dropped == {"crashed": 2} and counted[0].rows_in == 5
    plain = tmp_path / "x.warc"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    check(reader, plain, 12, {3, 4})


def test_too_many_crashes_end_with_a_clear_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.warc.gz", 23, dict.fromkeys(range(4, 20), "kill"))
    started = IsolatedReader(LIMITS, 2, CRASHER)
    try:
        told = rf"{path}: the parser died \(killed by SIGKILL\).*max_crashes = 2 "
        with pytest.raises(InputError, match=told):
            read(started, path)
        check(started, archive(tmp_path / "y.warc.gz", 5, {}), 5, set())
    finally:
        started.close()


def test_archive_that_cannot_be_read_is_named(reader: IsolatedReader, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}/none.warc.gz"):
        read(reader, tmp_path / "none.warc.gz")
    check(reader, archive(tmp_path / "y.warc.gz", 5, {}), 5, set())


def test_reader_that_stops_half_way_can_be_used_again(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    path = archive(tmp_path / "x.warc.gz", 40, {})
    batches = reader.read(str(path), accounts())
    next(batches)
    batches.close()
    check(reader, path, 40, set())


def test_large_record_and_damage_stay_within_the_limit(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    path = tmp_path / "x.warc.gz"
    large = gzip.compress(response(b"\0" * (200 << 20)), 1)
    good = [gzip.compress(page(i), mtime=0) for i in range(3)]
    path.write_bytes(good[0] + large + good[1] + b"junk" + good[2])
    rows, counted = read(reader, path)
    assert len(rows) == 3
    assert counted[0].dropped == {"too_large": 1, "corrupt": 1}


_PARENT = """
import sys, time
from pipeline.extract.isolated import IsolatedReader
from tests.extract.test_isolated import CRASHER, LIMITS, accounts, template_pid
reader = IsolatedReader(LIMITS, 10, CRASHER)
batches = reader.read(sys.argv[1], accounts())
next(batches)
print(reader._process.pid, template_pid(), flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("count", [6, 3000])
def test_process_ends_with_its_task(tmp_path: Path, count: int) -> None:
    path = archive(tmp_path / "x.warc.gz", count, {})
    task = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert task.stdout is not None
    started = [int(pid) for pid in task.stdout.readline().split()]
    assert len(started) == 2 and all(map(_is_running, started))
    task.kill()
    task.wait()
    task.stdout.close()
    for pid in started:
        _wait_for_the_end(pid)


def template_pid(reader: str = CRASHER) -> int:
    """The process that those of a reader are forked from."""
    (pid,) = (t.process.pid for (name, _), t in process._templates.items() if name == reader)
    return pid


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _wait_for_the_end(pid: int) -> None:
    end = time.monotonic() + 30
    while _is_running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_file_descriptors_and_no_processes_are_left(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    path = archive(tmp_path / "x.warc.gz", 6, {2: "kill"})
    check(reader, path, 6, {2})  # its template has descriptors of its own
    before, children = opened(), _children(template_pid())
    for _ in range(2):
        started = IsolatedReader(LIMITS, 10, CRASHER)
        check(started, path, 6, {2})
        started.close()
    assert opened() == before
    assert _children(template_pid()) == children and len(children) == 1


def test_template_that_is_killed_is_replaced(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.warc.gz", 3000, {})
    started = IsolatedReader(LIMITS, 10, CRASHER)
    try:
        batches = started.read(str(path), accounts())
        next(batches)
        assert started._process is not None
        template, child = template_pid(), started._process.pid
        os.kill(template, signal.SIGKILL)
        # What it forked dies with it, and reading goes on in a process of a new one.
        _wait_for_the_end(child)
        list(batches)
        assert template_pid() != template
        check(started, path, 3000, set())
        # Between two archives it costs nothing.
        os.kill(template_pid(), signal.SIGKILL)
        _wait_for_the_end(started._process.pid)
        check(started, path, 3000, set())
    finally:
        started.close()


@pytest.mark.parametrize(
    ("kind", "told"), [("segfault", "killed by SIGSEGV"), ("exit", "exit status 3")]
)
def test_how_a_process_ended_is_told(tmp_path: Path, kind: str, told: str) -> None:
    path = archive(tmp_path / "x.warc.gz", 3, {1: kind})
    started = IsolatedReader(LIMITS, 0, CRASHER)
    try:
        with pytest.raises(InputError, match=rf"the parser died \({told}\)"):
            read(started, path)
    finally:
        started.close()


def test_environment_and_folder_are_those_of_the_task_when_it_starts(
    reader: IsolatedReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(reader, archive(tmp_path / "x.warc.gz", 3, {}), 3, set())  # so there is a template
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BYTES", "\udcff")
    monkeypatch.setenv("CRASH_STATUS", "7")
    started = IsolatedReader(LIMITS, 0, CRASHER)
    try:
        rows, _ = read(started, Path("x.warc.gz"))
        assert len(rows) == 3
        assert started._process is not None
        pid = started._process.pid
        assert Path(f"/proc/{pid}/cwd").readlink() == tmp_path
        with pytest.raises(InputError, match="exit status 7"):
            read(started, archive(Path("y.warc.gz"), 3, {1: "exit"}))
    finally:
        started.close()


def test_the_real_parser_in_its_process(tmp_path: Path) -> None:
    started = IsolatedReader(Limits(), 10)
    try:
        check(started, archive(tmp_path / "x.warc.gz", 30, {}), 30, set())
        # No thread was there that could have held a lock when the process was forked.
        assert len(os.listdir(f"/proc/{template_pid(READER)}/task")) == 1
    finally:
        started.close()
