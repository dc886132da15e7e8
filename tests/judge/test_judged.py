"""What recipes keep of a run of the line, as views of one pool; the run itself is not touched."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import filters
from jobs.line import EXTRA
from pipeline.core.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.run import load_config
from pipeline.judge.settings import JudgeSection
from pipeline.stages import judged
from pipeline.stages.line import LINE
from pipeline.stream import views
from pipeline.stream.loader import Stream
from tests.conftest import ROOT, Milled

RECIPE = str(ROOT / "conf/demo.toml")
HELD_TO = JudgeSection().pool_filters


def load(root: Path, *sets: str) -> Config:
    return load_config(RECIPE, [f"run.root={root}", *sets], LINE, filters.load(), EXTRA)


def kept(folder: Path) -> set[str]:
    rows = pq.read_table(folder, columns=["pair_id", "is_kept"]).to_pylist()
    return {row["pair_id"].hex() for row in rows if row["is_kept"]}


def state(root: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.spark
def test_a_recipe_is_what_decide_keeps_of_the_pool(
    spark: Any, milled: Milled, tmp_path: Path
) -> None:
    before = state(milled.root)
    config = load(milled.root, "shard.samples_per_shard=100")
    root = judged.pool(config, HELD_TO, str(tmp_path / "pool"))
    pool = views.whole(root)
    own = judged.view(config, config, "own", root, str(tmp_path / "recipes"))
    # As the run itself decided, by the same recipe.
    assert own.samples == len(kept(milled.root / "decisions")) < pool.samples
    assert {k for b in Stream(own, 10) for k in b.keys} == kept(milled.root / "decisions")
    pairs = pq.read_table(milled.root / "measures", columns=["is_consented"])
    assert pool.samples == sum(bool(v) for v in pairs["is_consented"].to_pylist())

    loose = load(
        milled.root, "filters.clip_similarity.low=0.2", "filters.caption_words.min_words=2"
    )
    other = judged.view(config, loose, "loose", root, str(tmp_path / "recipes"))
    assert own.samples < other.samples < pool.samples
    # Done before, and found again.
    again = judged.view(config, config, "own", root, str(tmp_path / "recipes"))
    assert again.id == own.id
    assert judged.pool(config, HELD_TO, str(tmp_path / "pool")) == root
    assert state(milled.root) == before


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["score.model=ViT-B-32", "score.pretrained=x"], "mine: score.model = 'ViT-B-32', while"),
        (["match.radius=2"], "mine: match.radius = 2, while the run was made by 4"),
        (["decide.captions=best"], "decide.captions = 'best' gives pictures captions of others"),
    ],
)
def test_what_a_run_cannot_answer_is_refused(tmp_path: Path, sets: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        judged.refuse_unanswerable(load(tmp_path), load(tmp_path, *sets), "mine")


def test_where_spark_does_not_read_is_refused(tmp_path: Path) -> None:
    config = load(tmp_path, "run.root=s3://bucket/run")
    with pytest.raises(ConfigError, match="s3://bucket/run is where Spark does not read by itself"):
        judged.pool(config, HELD_TO, str(tmp_path / "pool"))


def test_what_is_tuned_otherwise_is_not(tmp_path: Path) -> None:
    config = load(tmp_path)
    other = load(tmp_path, "score.device=cpu", "download.timeout_s=1", "shard.name=other")
    for section in ("score", "download", "shard"):
        assert other.sections[section] != config.sections[section]
    assert other.sections["score"].identity() == config.sections["score"].identity()
    judged.refuse_unanswerable(config, other, "mine")  # raises nothing
