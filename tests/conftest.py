"""Shared fixtures: one Spark session per run, and the real data when it is at hand."""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
# What Spark needs to be quick here: for the shared session, and for jobs that tests submit.
SPARK_CONF = ROOT / "tests" / "spark.conf"
# Real archives, pages and photos for tests that want them; absent on most machines.
REAL_DATA = Path(os.environ.get("PAIRMILL_REAL_DATA", ROOT.parent / "shared" / "data"))


# No test asks the network; a hub client that does not know it asks, waits and asks again.
os.environ["HF_HUB_OFFLINE"] = "1"

# A first example may wait for a kernel to be compiled.
hypothesis.settings.register_profile("pairmill", deadline=None)
hypothesis.settings.load_profile("pairmill")


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """The one Spark session of the test run, as tests/spark.conf says."""
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"--properties-file {SPARK_CONF} pyspark-shell")
    from pipeline.core.spark import session

    started = session("tests")
    yield started
    started.stop()


@dataclass(frozen=True)
class Milled:
    """A finished run of the whole line on a small embedded web, as a user makes it.

    root: the run's folder. web: the embedded web's. sets: what another run of the same web and
    config is given beside its own `run.root`. output: what it printed. Tests only read all this.
    """

    root: Path
    web: Path
    sets: tuple[str, ...]
    output: str

    def before(self, stage: str, root: Path) -> Path:
        """A copy of the run as it was before a stage, in a new folder."""
        from pipeline.stages.line import LINE

        names = [known.name for known in LINE]
        behind = {"_progress", "_logs", "evaluation.json"}
        for later in LINE[names.index(stage) :]:
            behind |= {f"{later.name}.json", *later.folders, *(t.name for t in later.writes)}
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns(*behind))
        return root


@pytest.fixture(scope="session")
def milled(tmp_path_factory: pytest.TempPathFactory) -> Milled:
    """One run for all tests that ask something of a run: it costs as much as a hundred of them."""
    from tests.leaks import SECRETS
    from tests.submitted import demo, finish

    folder = tmp_path_factory.mktemp("milled")
    root, web = folder / "run", folder / "web"
    sets = (f"demo.folder={web}", "demo.pages=300", "dedupe.parts=6", "shard.samples_per_shard=40")
    return Milled(root, web, sets, finish(demo([f"run.root={root}", *sets], **SECRETS)))


@pytest.fixture(scope="session")
def forked() -> BaseContext:
    """Starts processes by forking one that has loaded torch, the download and what members of a
    training run need: at once, where each would load them for itself."""
    multiprocessing.set_forkserver_preload(["tests.stream.member", "tests.stages.download_process"])
    return multiprocessing.get_context("forkserver")


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """fsspec's file system of an S3 server on loopback, one for all tests: what is made of a URL is
    kept by s3fs, with the address that the server had then. Each test has buckets of its own."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    from tests.s3.servers import chosen

    with chosen() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in endpoint.environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield s3fs.S3FileSystem()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real archives and pictures; skips when it is not there."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set PAIRMILL_REAL_DATA to use it")
    return REAL_DATA


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a cluster run by name alone (`-m cluster`): they need what `make dist` packs."""
    if "cluster" not in config.option.markexpr:
        items[:] = [item for item in items if not item.get_closest_marker("cluster")]


def _together(items: list[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """Tests by what one process should run of them: a file, or all that ask for the one `milled`."""
    found: dict[str, list[pytest.Item]] = {}
    milled = {item.path for item in items if "milled" in getattr(item, "fixturenames", ())}
    for item in items:
        name = "milled" if item.path in milled else item.path.relative_to(ROOT).as_posix()
        found.setdefault(name.replace("/", "."), []).append(item)
    return found


def _order(named: tuple[str, list[pytest.Item]]) -> tuple[bool, bool, bool]:
    """Those that need Spark first, and of them the longest; the quickest of the others last."""
    name, items = named
    has = {mark: any(i.get_closest_marker(mark) for i in items) for mark in ("spark", "slow")}
    return not has["spark"], name != "milled", has["slow"] != has["spark"]


def _claimed(session: pytest.Session, folder: Path) -> Iterator[pytest.Item]:
    """The tests that this process is the first to take."""
    groups = sorted(_together(session.items).items(), key=_order)
    for name, items in groups if os.environ["TESTS_FROM"] == "spark" else reversed(groups):
        try:
            (folder / name).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from items


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With TESTS_SHARED, a folder: share the tests with another process, file by file.

    TESTS_FROM says at which end to start: "spark" or "plain". They meet where both are done.
    """
    folder = os.environ.get("TESTS_SHARED")
    if not folder or session.testsfailed or session.config.option.collectonly:
        return None
    todo = _claimed(session, Path(folder))
    item = next(todo, None)
    while item is not None:
        following = next(todo, None)
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True
