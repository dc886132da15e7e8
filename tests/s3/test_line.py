"""The whole line with its folder on S3, as a user runs it: killed in the middle, it gives the release
of a local run; and what is done with a release works there. Nothing that is written holds the secret.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.release import main as release_job
from jobs.takedown import main as takedown_job
from pipeline.core import s3 as object_storage
from pipeline.core.storage import Store
from pipeline.shards.verify import verify
from pipeline.stream.loader import Stream
from tests.s3 import servers
from tests.submitted import Job, demo, finish, kill, wait_for

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]
SMALL = ("demo.pages=60", "dedupe.parts=2", "shard.samples_per_shard=20")
# Stage that is killed, and the folder in which an object shows that it is at work.
CUT_IN = (("download", "raw/"), ("shard", "release/0"))


def start(root: str, web: Path) -> Job:
    return demo([f"run.root={root}", f"demo.folder={web}", *SMALL])


def tars(store: Store) -> dict[str, str]:
    found = [f for f in store.fs.find(store.path("release")) if f.endswith(".tar")]
    assert found
    return {f.rsplit("/", 1)[1]: hashlib.sha256(store.fs.cat_file(f)).hexdigest() for f in found}


@pytest.fixture(scope="module")
def milled(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store, str]]:
    """A finished local run, one on S3 that was killed on the way, and what the latter printed."""
    folder = tmp_path_factory.mktemp("on-s3")
    local, remote = Store(str(folder / "local")), Store("s3://mill/run")
    s3.mkdir("mill")
    finish(start(local.root, folder / "web"))
    output = ""
    if servers.is_real():
        for stage, sign in CUT_IN:
            job = start(remote.root, folder / "web")
            wait_for(lambda: at_work(remote, sign), f"{stage} at work", job)
            kill(job)
            record = json.loads(remote.fs.cat_file(remote.path(f"_stages/{stage}.json")))
            assert record["state"] == "started", f"{stage} was not cut"
    output += finish(start(remote.root, folder / "web"))
    yield local, remote, output


def at_work(store: Store, sign: str) -> bool:
    prefix = store.path(sign).removeprefix("s3://")
    return any(f.startswith(prefix) for f in store.fs.find(store.root))


def test_the_release_is_that_of_a_local_run(milled: tuple[Store, Store, str]) -> None:
    local, remote, output = milled
    assert tars(remote) == tars(local)
    assert "Funnel" in output and "Against the ground truth" in output
    assert f"Release: {remote.root}/release" in output
    assert verify(remote.path("release")) == []
    # Nothing that was begun and not ended, for which somebody pays.
    assert object_storage.abort_uploads(remote.fs, remote.root) == 0


def test_nothing_that_was_written_holds_the_secret(milled: tuple[Store, Store, str]) -> None:
    _, remote, output = milled
    secret = servers.SECRET_KEY.encode()
    found = remote.fs.find(remote.root)
    assert {f.split("/")[2] for f in found} >= {"_stages", "images", "raw", "release", "report"}
    assert [f for f in found if secret in remote.fs.cat_file(f)] == []
    assert servers.SECRET_KEY not in output


def test_what_is_done_with_a_release_is_done_there(
    milled: tuple[Store, Store, str], tmp_path: Path
) -> None:
    _, remote, _ = milled
    release, exported = remote.path("release"), remote.path("exported")
    stream = Stream(release, 8, chunk_samples=8)
    keys = [key for batch in stream for key in batch.keys]
    stream.close()
    assert len(keys) == len(set(keys)) == stream.view.manifest.samples
    assert release_job(["export", release, "--layout", "img2dataset", "--out", exported]) == 0
    assert remote.exists("exported/00000.tar") and remote.exists("exported/00000.parquet")
    (tmp_path / "list").write_text(f"pair:{keys[0]}\n")
    purged = remote.path("purged")
    assert takedown_job([release, "--list", str(tmp_path / "list"), "--out", purged]) == 0
    assert verify(purged) == []
    held = [f for f in remote.fs.find(purged) if keys[0].encode() in remote.fs.cat_file(f)]
    assert held == [], "the purged sample's key is in the new version"
    left = Stream(purged, 8, chunk_samples=8)
    assert sorted(key for batch in left for key in batch.keys) == sorted(keys[1:])
    left.close()
    masked = Stream(release, 8, chunk_samples=8)
    assert sum(float((batch.weight == 0).sum()) for batch in masked) == 1
    masked.close()
