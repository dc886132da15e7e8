"""Two writers that race for the same part or release: one wins, the other says so, nothing is left."""

import multiprocessing
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.release import main
from pipeline.core.errors import EnvironmentProblem
from pipeline.core.storage import Store, Superseded
from pipeline.core.tables import Table, column
from pipeline.shards.publish import owned
from pipeline.shards.verify import verify
from pipeline.stream import views
from pipeline.stream.reader import Release
from tests.shards import plain_release
from tests.shards.test_release_job import SAMPLES, samples

NUMBERS = Table("numbers", "Test rows.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))
WRITERS = 2
PARTS = 20

Barrier = Any


def write_parts(root: str, writer: int, barrier: Barrier) -> list[bool]:
    """Publish every part at the same moment as the others; of which it was the one that stands."""
    store = Store(root)
    stood = []
    for part in range(PARTS):
        try:
            with store.publish_part(NUMBERS, part) as sink:
                sink.write_rows([{"n": writer}] * (writer + 1))
                barrier.wait(60)
            stood.append(True)
        except Superseded:
            stood.append(False)
    return stood


def materialise(out: str, writer: int, barrier: Barrier) -> int:
    """Write a view of one's own to the same place; the exit status."""
    beside = out.rpartition("/")[0]
    barrier.wait(60)
    given = ["--view", f"{beside}/{writer}.view", "--out", out, "--samples-per-shard", "4"]
    return main(["materialise", f"{beside}/release", *given])


@pytest.fixture(scope="module")
def together(s3: Any) -> Iterator[Callable[..., list[Any]]]:
    """Calls work(root, writer, barrier) in two processes at once."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(WRITERS) as pool:

        def run(work: Callable[..., Any], root: str) -> list[Any]:
            barrier = manager.Barrier(WRITERS)
            return pool.starmap(work, [(root, w, barrier) for w in range(WRITERS)], 1)

        yield run


def names(store: Store) -> list[str]:
    store.fs.invalidate_cache()
    return sorted(posixpath.basename(f) for f in store.fs.find(store.root))


@pytest.fixture(scope="module", params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "disk":
        return str(tmp_path_factory.mktemp("races"))
    request.getfixturevalue("s3").mkdir("races")
    return "s3://races/some"


def test_of_attempts_at_a_part_that_end_at_once_one_stands(
    place: str, together: Callable[..., list[Any]]
) -> None:
    root = f"{place}/parts"
    stood = together(write_parts, root)
    store = Store(root)
    for part in range(PARTS):
        (winner,) = [writer for writer in range(WRITERS) if stood[writer][part]]
        rows = [row for batch in store.read_part(NUMBERS, part) for row in batch.to_pylist()]
        assert rows == [{"n": winner}] * (winner + 1)
    parts = [f"part-{part:05d}.parquet" for part in range(PARTS)]
    sums = [f".{name}.crc" for name in parts] if store.is_local else []
    assert names(store) == sorted([*parts, *sums])
    assert store.sweep("") == 0, "uploads were left open"


def test_of_writers_of_a_release_one_writes_it(
    place: str, together: Callable[..., list[Any]], tmp_path: Path
) -> None:
    plain_release.write(tmp_path / "release", samples(), 9)
    for writer, condition in enumerate(("key < 'c'", "key >= 'c'")):
        view = views.select(str(tmp_path / "release"), condition)
        views.save(view, str(tmp_path / f"{writer}.view"))
    out = Store(f"{place}/releases")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            target = out.path(str(file.relative_to(tmp_path)))
            out.fs.makedirs(posixpath.dirname(target), exist_ok=True)
            out.fs.put_file(str(file), target)
    statuses = together(materialise, out.path("new"))
    assert sorted(statuses) == [0, 1]
    winner = statuses.index(0)
    assert verify(out.path("new")) == []
    new = Release(out.path("new"))
    keys = [k for s in range(len(new.manifest.shards)) for k in new.about(s)["key"].to_pylist()]
    assert sorted(keys) == [key for key, *_ in SAMPLES if (key < "c") == (winner == 0)]
    left = [n for n in names(Store(out.path("new"))) if n.startswith(".")]
    assert left == [] and Store(out.path("new")).sweep("") == 0


def test_who_comes_second_to_a_release_is_told(place: str) -> None:
    out = f"{place}/held"
    with owned(out), pytest.raises(EnvironmentProblem, match="is in use by process"), owned(out):
        raise AssertionError("owned twice")
