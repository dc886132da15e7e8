"""Archives that hold nothing to mill: every stage gives an empty table, or says why it cannot."""

import gzip
from pathlib import Path
from typing import Any

import pytest

import filters
from pipeline.core.errors import PairmillError
from pipeline.core.run import load_config, run
from pipeline.core.storage import Store
from pipeline.fakeweb.config import DemoSection
from pipeline.stages.line import LINE
from tests.extract.archive import response

BEFORE_SHARD = ("extract", "dedupe", "download", "match", "score", "cluster", "measure", "decide")
NO_IMAGE = b"<html><p>words alone</p></html>"
ONE_IMAGE = b"<html><img src='http://gone.example/a.jpg' alt='a red boat on a lake'></html>"


@pytest.mark.spark
@pytest.mark.parametrize(("body", "candidates"), [(NO_IMAGE, 0), (ONE_IMAGE, 1)])
def test_nothing_to_mill(spark: Any, tmp_path: Path, body: bytes, candidates: int) -> None:
    archive = tmp_path / "one.warc.gz"
    archive.write_bytes(gzip.compress(response(body), mtime=0))
    hosts = tmp_path / "hosts.json"  # no name but one that nothing asks for: no request is made
    hosts.write_text('{"elsewhere.example": "127.0.0.1"}')
    overrides = [
        f"run.root={tmp_path / 'run'}",
        "run.web=live",
        f"extract.archives=['{archive}']",
        f"download.hosts_file={hosts}",
        "dedupe.parts=3",
    ]
    config = load_config("conf/demo.toml", overrides, LINE, filters.load(), {"demo": DemoSection})
    done = {r["stage"]: r["accounts"] for r in run(BEFORE_SHARD, LINE, config)}
    assert done["dedupe"][1]["kept"] == candidates
    assert [a["dropped"] for a in done["download"]] == [{"dns": 1}] * candidates
    assert all(a["kept"] == 0 for name in BEFORE_SHARD[2:] for a in done[name])
    with pytest.raises(PairmillError, match="no pair is left to write: 0 were measured"):
        run(["shard"], LINE, config)
    assert not Store(config.run.root).exists("release")
