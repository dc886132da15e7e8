from pathlib import Path
from typing import Any

import pytest

from pipeline.stages import shard
from tests.shards import small_run


@pytest.fixture(scope="session")
def pairs() -> list[small_run.Pair]:
    return small_run.make_pairs()


@pytest.fixture(scope="session")
def built(
    spark: Any, pairs: list[small_run.Pair], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder of a finished release; only to be read."""
    root = tmp_path_factory.mktemp("shards") / "run"
    ctx = small_run.start(spark, root, pairs, samples_per_shard=20, name='A "quoted" set')
    (account,) = shard.build(ctx)
    kept = sum(p.is_kept for p in pairs)
    assert (account.unit, account.rows_in, account.kept) == ("samples", kept, kept)
    return root


@pytest.fixture(scope="session")
def release(built: Path) -> Path:
    return built / "release"
