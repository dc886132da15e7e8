"""Shared fixtures: one Spark session per run, and the real data when it is at hand."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
# What Spark needs to be quick here: for the shared session, and for jobs that tests submit.
SPARK_CONF = ROOT / "tests" / "spark.conf"
# Real archives, pages and photos for tests that want them; absent on most machines.
REAL_DATA = Path(os.environ.get("PAIRMILL_REAL_DATA", ROOT.parent / "shared" / "data"))


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
