"""The whole line on a standalone cluster of two workers that have nothing but what is shipped.

One worker is told to go while captions are shuffled, one is lost in the middle of the download, and
another in the middle of scoring; the release has the bytes of a local run all the same.
"""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster, standalone
from tests.conftest import ROOT
from tests.submitted import Job, demo, finish, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]
SETS = ("demo.pages=300", "dedupe.parts=6", "shard.samples_per_shard=40")


def tar_hashes(root: Path) -> dict[str, str]:
    return {
        t.name: hashlib.sha256(t.read_bytes()).hexdigest()
        for t in sorted((root / "release").glob("*.tar"))
    }


def start(cluster: Cluster, root: Path, web: Path) -> Job:
    small = "--conf spark.executor.cores=1 --conf spark.executor.memory=1g --conf spark.driver.memory=1g"
    sets = [f"run.root={root}", f"demo.folder={web}", *SETS]
    return subprocess.Popen(
        [ROOT / "conf/environment/submit.sh", ROOT / "jobs/run.py"]
        + ["--config", ROOT / "conf/demo.toml"]
        + [word for s in sets for word in ("--set", s)],
        cwd=cluster.folder,
        env=os.environ
        | {
            "CLUSTER": "standalone",
            "MASTER": cluster.url,
            "SPARK_ARGS": small,
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_workers_that_go_and_are_lost_give_the_release_of_a_local_run(tmp_path: Path) -> None:
    web, alone, root = tmp_path / "web", tmp_path / "local", tmp_path / "cluster-run"
    finish(demo([f"run.root={alone}", f"demo.folder={web}", *SETS]))
    wanted = tar_hashes(alone)
    assert wanted
    folder = tmp_path / "cluster"
    folder.mkdir()
    with standalone(folder) as cluster:
        cluster.start_worker("first")
        cluster.start_worker("second")
        job = start(cluster, root, web)
        wait_for((root / "_stages" / "dedupe.json").exists, "dedupe", job)
        going = next(w for w in cluster.workers.values() if w.executors())
        going.decommission()
        cluster.start_worker("replacement")
        wait_for(lambda: not going.executors(), "the executor that was told to go", job)
        assert "decommission" in going.told().lower()
        wait_for(lambda: any(root.glob("raw/.writing-*")), "the download", job)
        victim = next(w for w in cluster.workers.values() if w is not going and w.executors())
        victim.kill()
        cluster.start_worker("third")
        wait_for(lambda: any(root.glob("embeddings/.writing-*")), "scoring", job)
        busy = [w for w in cluster.workers.values() if w is not victim and w.executors()]
        assert busy
        busy[0].kill()
        cluster.start_worker("fourth")
        output = finish(job)
        shipped = {
            name: list(worker.folder.glob("app-*/*/environment/bin/python"))
            for name, worker in cluster.workers.items()
        }
    assert "Funnel" in output
    # The executors ran what was shipped to them, each in a folder of its worker.
    assert sum(map(bool, shipped.values())) >= 3, shipped
    assert tar_hashes(root) == wanted
